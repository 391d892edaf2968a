import { randomInt } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { parseFlags } from "../../services/runtime/config/flags.ts";
import { loadSettings } from "../../services/runtime/config/load.ts";
import { base62, formatKey, keyIdLength, keySecretLength } from "../../services/runtime/identity/key-format.ts";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { startWeir } from "../../services/weir.ts";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { createTestDatabase } from "../fakes/postgres.ts";
import { eventsOf, RawRequest } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

const yamlFor = (url: string) =>
  `pools: [{ id: sim, replicas: [{ url: "${url}" }] }]\nmodels: [{ id: weir-sim, pool: sim }]\n`;
const steady = { model: "weir-sim", prompt: "go on", stream: true, max_tokens: 120, min_tokens: 120 };

describe("while others misbehave", () => {
  let engine: SimulatorProcess;
  let tail: RecordTail;
  let gateway: Gateway;

  beforeAll(async () => {
    engine = await startSimulatorProcess(["--slots", "512"]);
    tail = new RecordTail(engine.recordPath);
    // Few, so that the budget does not fill up again while it is tested.
    gateway = await startGateway(`${yamlFor(engine.httpUrl)}http: { bad_keys_per_minute_max: 6 }\n`);
  }, 60_000);
  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    tail?.[Symbol.dispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  /** Runs streams of a well-behaved caller during something, and says how they fared. */
  async function bystanders(during: () => Promise<void>): Promise<void> {
    const streams = Array.from({ length: 8 }, () => gateway.ask("/v1/completions", steady));
    await eventually("they run", () => streams.every(({ text }) => text !== ""));
    await during();
    for (const stream of streams) expectWhole(await stream.done());
    expectWhole(await gateway.ask("/v1/completions", { ...steady, max_tokens: 4, min_tokens: 4 }).done());
    await eventually("nothing is left at the engine", () => tail.open().length === 0);
    expect(await gateway.gauge("weir_requests_in_flight")).toBe(0);
  }

  const whole = (reply: Awaited<ReturnType<RawRequest["done"]>>) => ({
    status: reply?.status,
    ...(({ dones, errors }) => ({ dones, errors }))(eventsOf(reply?.body ?? "")),
  });
  const expectWhole = (reply: Awaited<ReturnType<RawRequest["done"]>>) =>
    expect(whole(reply)).toEqual({ status: 200, dones: 1, errors: [] });

  /** The status of a list of models that is asked for from an address of this machine. */
  const listFrom = (localAddress: string, key: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${key}` };
      const asked = get({
        host: "127.0.0.1",
        port: gateway.port,
        path: "/v1/models",
        localAddress,
        headers,
        agent: false,
      });
      asked.on("error", reject).on("response", (response) => resolve(response.resume().statusCode ?? 0));
    });

  test("thousands of junk keys from the same address: known keys work on", async () => {
    const made = await fetch(`${gateway.weir.url}/weir.auth.v1.KeyService/CreateKey`, {
      method: "POST",
      headers: { authorization: `Bearer ${gateway.key}`, "content-type": "application/json" },
      body: JSON.stringify({ requestId: crypto.randomUUID(), name: "late" }),
    });
    const { secret }: { secret: string } = JSON.parse(await made.text());
    const counts = new Map<string, number>();
    await bystanders(async () => {
      const junk = async () => {
        for (let i = 0; i < 100; i++) {
          const key = i % 2 === 0 ? `junk-${i}` : junkKey();
          const reply = await fetch(`${gateway.weir.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
          await reply.arrayBuffer();
          counts.set(String(reply.status), (counts.get(String(reply.status)) ?? 0) + 1);
        }
      };
      await Promise.all(Array.from({ length: 30 }, junk));
      // Six a minute are looked at, the rest not even that.
      expect([...counts.keys()].sort()).toEqual(["401", "429"]);
      expect(counts.get("401")).toBeLessThan(50);
      // A key that this process has not seen cannot be told from one more guess of that address; from elsewhere it can.
      expect(await listFrom("127.0.0.1", secret)).toBe(429);
      expect(await listFrom("127.0.0.2", secret)).toBe(200);
    });
  }, 60_000);

  test("more connections than an address may have: those that are there go on", async () => {
    const sockets: Socket[] = [];
    let refused = 0;
    await bystanders(async () => {
      for (let i = 0; i < 3_000; i++) {
        const socket = connect(gateway.port, "127.0.0.1");
        socket.on("error", () => undefined).on("close", () => refused++);
        sockets.push(socket);
      }
      await eventually("the surplus is refused", () => refused >= 3_000 - 1_024, 20_000);
      await expect(listFrom("127.0.0.1", gateway.key)).rejects.toThrow();
      expect(await listFrom("127.0.0.2", gateway.key)).toBe(200);
      for (const socket of sockets) socket.destroy();
    });
  }, 60_000);

  test("bursts of requests that are reset over HTTP/2: the engine ends them, and strangers go on", async () => {
    const before = tail.read().length;
    await bystanders(async () => {
      for (let round = 0; round < 4; round++) await burst(gateway);
    });
    // The strangers' nine, and some that were quick enough to reach it.
    expect(tail.read().length).toBeGreaterThan(before + 9 + 10);
  }, 60_000);
});

/** More resets on one session than any browser makes; Node ends the session at 1,000. */
async function burst(gateway: Gateway): Promise<void> {
  const session = connectHttp2(gateway.weir.url);
  session.on("error", () => undefined);
  for (let i = 0; i < 1_500 && !session.closed && !session.destroyed; i++) {
    const stream = session.request({
      ":method": "POST",
      ":path": "/v1/completions",
      authorization: `Bearer ${gateway.key}`,
      "content-type": "application/json",
    });
    stream.on("error", () => undefined);
    stream.end(JSON.stringify({ ...steady, max_tokens: 5_000, min_tokens: 5_000 }));
    setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), i % 40);
    if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  session.destroy();
}

/** A key whose form and checksum are right, and which nobody has. */
function junkKey(): string {
  const digits = (length: number) => Array.from({ length }, () => base62.charAt(randomInt(base62.length))).join("");
  return formatKey(digits(keyIdLength), digits(keySecretLength));
}

describe("a stop while streams run", () => {
  test("what takes longer than the stop may is told so", async () => {
    await using resources = new AsyncDisposableStack();
    const database = resources.use(await createTestDatabase());
    const engine = resources.use(await startSimulator({ openai: { port: 0 }, speed: { decodeMsPerToken: 20 } }));
    const folder = await openFolder("weir-stop-");
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const config = join(folder, "weir.yaml");
    const head = `listen: { port: 0, admin_port: 0 }\npostgres: { url: "${database.url}" }\nrouter: { queue_max: 8 }\n`;
    await writeFile(config, head + yamlFor(engine.httpUrl).replace("}] }]", "}], concurrency_max: 2 }]"));
    const parsed = parseFlags(["--config", config]);
    if ("problems" in parsed) throw new Error(parsed.problems.join());
    const { settings } = loadSettings(parsed.flags);
    const weir = resources.use(await startWeir({ settings, clock: systemClock, log: pino({ level: "silent" }) }));
    const key = (await readFile(join(folder, "data/admin.key"), "utf8")).trim();
    const ask = (stream: boolean) => {
      const body = { ...steady, stream, max_tokens: 5_000, min_tokens: 5_000 };
      return new RawRequest({ port: weir.api?.port ?? 0, key, path: "/v1/completions", body });
    };
    await expect.poll(async () => (await fetch(`http://127.0.0.1:${weir.admin.port}/readyz`)).ok).toBe(true);
    const [streaming, plain] = [ask(true), ask(false)];
    await eventually("two run", () => streaming.text !== "" && engine.engine.load().running === 2);
    const waiting = ask(true);
    await expect
      .poll(() => weir.assembled.runtime.metrics.text())
      .toContain('weir_requests_queued{model="weir-sim"} 1');
    await weir.stop(300);
    const reply = await streaming.done();
    const { errors, dones } = eventsOf(reply?.body ?? "");
    expect([reply?.status, reply?.whole, dones, errors.map(({ code }) => code)]).toEqual([
      200,
      true,
      0,
      ["server_draining"],
    ]);
    for (const client of [plain, waiting]) {
      const refusal = await client.done();
      expect([
        refusal?.status,
        refusal?.headers.has("retry-after"),
        JSON.parse(refusal?.body ?? "{}").error?.code,
      ]).toEqual([503, true, "server_draining"]);
    }
    expect(engine.engine.load()).toMatchObject({ running: 0, waiting: 0 });
  }, 60_000);

  test("they finish, new requests are turned away, and the process ends with 0", async () => {
    await using engine = await startSimulatorProcess(["--decode-ms", "20"]);
    using tail = new RecordTail(engine.recordPath);
    await using gateway = await startGateway(yamlFor(engine.httpUrl));
    const streams = Array.from({ length: 32 }, () => gateway.ask("/v1/completions", steady));
    await eventually("they run", () => streams.every(({ text }) => text !== ""));
    const termMs = performance.now();
    gateway.weir.kill("SIGTERM");
    await eventually("it is not ready", () => gateway.weir.log().includes("stopping"));
    const late = gateway.ask("/v1/completions", steady);
    await late.closed;
    expect(late.reply()).toBeUndefined();
    for (const stream of streams) {
      const reply = await stream.done();
      expect(eventsOf(reply?.body ?? "")).toMatchObject({ dones: 1, errors: [] });
    }
    expect(await gateway.weir.exited).toBe(0);
    expect(performance.now() - termMs).toBeLessThan(10_000);
    expect(tail.open()).toEqual([]);
  }, 60_000);
});

describe("engines that come and go", () => {
  test("two replicas that are killed and started in turns: answers in one piece all come", async () => {
    await using first = new Flapping();
    await using second = new Flapping();
    await first.start();
    await second.start();
    const urls = [first, second].map(({ url }) => `{ url: "${url}" }`).join(", ");
    await using gateway = await startGateway(
      `pools: [{ id: sim, replicas: [${urls}] }]\nmodels: [{ id: weir-sim, pool: sim }]\nprobe: { interval: 200ms, timeout: 2s }\n`,
    );
    let over = false;
    const outcomes = new Map<string, number>();
    const worker = async () => {
      while (!over) {
        const body = { model: "weir-sim", prompt: "go on", max_tokens: 8, min_tokens: 8 };
        const reply = await gateway.ask("/v1/completions", body, { headers: { connection: "close" } }).done();
        const outcome = `${reply?.status} ${JSON.parse(reply?.body ?? "{}").error?.code ?? ""}`;
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
    };
    const workers = Array.from({ length: 16 }, worker);
    for (let round = 0; round < 6; round++) {
      const victim = round % 2 === 0 ? first : second;
      await victim.kill();
      await victim.start();
      // The other one goes only when this one has answered requests again.
      await eventually("it has requests again", () => victim.hasRequests(), 10_000);
    }
    over = true;
    await Promise.all(workers);
    expect([...outcomes.keys()]).toEqual(["200 "]);
    expect(outcomes.get("200 ")).toBeGreaterThan(100);
    expect(await gateway.gauge("weir_requests_in_flight")).toBe(0);
  }, 90_000);
});

/** A simulator that comes back on the port that it had. */
class Flapping implements AsyncDisposable {
  #engine: SimulatorProcess | undefined;
  #port = "0";

  get url(): string {
    return this.#engine?.httpUrl ?? "";
  }

  async start(): Promise<void> {
    this.#engine = await startSimulatorProcess(["--http-port", this.#port, "--decode-ms", "10"]);
    this.#port = new URL(this.url).port;
  }

  async kill(): Promise<void> {
    await this.#engine?.kill("SIGKILL");
    await this.#engine?.[Symbol.asyncDispose]();
  }

  hasRequests(): boolean {
    return this.#engine?.record().some(({ event }) => event === "finished") ?? false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine?.[Symbol.asyncDispose]();
  }
}
