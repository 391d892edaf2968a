import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { textFrom } from "../../services/simulator/text.ts";
import { type GenerationLine, type Gateway, startGateway } from "../fakes/gateway.ts";
import { eventsOf, type RawReply, type RawRequest } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

const firstEventMs = 700;
const idleMs = 400;
const totalMs = 1_500;
/** What a busy machine may add to any of them. */
const slackMs = 1_000;

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: Gateway;

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "5", "--prefill-ms", "0"]);
  tail = new RecordTail(engine.recordPath);
  gateway = await startGateway(yamlFor([{ name: "one", engines: [engine] }]));
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

/** Each kind of engine's model at the pools of a name: `<name>-http`, `<name>-ensemble`, `<name>-vllm`. */
const kinds = ["http", "ensemble", "vllm"] as const;
type Kind = (typeof kinds)[number];

function yamlFor(
  pools: readonly {
    readonly name: string;
    readonly engines: readonly Pick<SimulatorProcess, "httpUrl" | "grpcUrl">[];
    readonly patient?: boolean;
  }[],
): string {
  const lines = pools.flatMap(({ name, engines, patient }) => {
    const times = patient
      ? ""
      : `, first_event_timeout: ${firstEventMs}ms, idle_timeout: ${idleMs}ms, total_timeout: ${totalMs}ms`;
    const replicas = (url: "httpUrl" | "grpcUrl") => engines.map((each) => `{ url: "${each[url]}" }`).join(", ");
    return [
      `  - { id: ${name}-http, replicas: [${replicas("httpUrl")}]${times} }`,
      `  - { id: ${name}-triton, replicas: [${replicas("grpcUrl")}]${times} }`,
    ];
  });
  const models = pools.flatMap(({ name }) => [
    `  - { id: ${name}-http, pool: ${name}-http, engine_model: weir-sim }`,
    `  - { id: ${name}-ensemble, pool: ${name}-triton, engine_model: ensemble }`,
    `  - { id: ${name}-vllm, pool: ${name}-triton, engine_model: vllm_model }`,
  ]);
  return `pools:\n${lines.join("\n")}\nmodels:\n${models.join("\n")}\nprobe: { interval: 500ms, timeout: 2s }\n`;
}

interface Wish {
  readonly model: string;
  readonly prompt: string;
  readonly stream: boolean;
  readonly max_tokens?: number;
  readonly min_tokens?: number;
}

const send = (wish: Wish, through = gateway): RawRequest =>
  through.ask("/v1/completions", { seed: 1, max_tokens: 12, min_tokens: 12, ...wish });

/** What the model says to a prompt, up to so many tokens. */
function textOf(prompt: string, tokens: number): string {
  const text = textFrom(prompt, 131n);
  return Buffer.concat(Array.from({ length: tokens }, () => text.next().value.bytes)).toString("utf8");
}

/** An ensemble loses a character that is split over tokens. */
const plain = (text: string) => text.replace(/[^\x20-\x7e]+/g, "");

/** The line that the gateway logged of an answer; a stream's status does not tell how it ended, this does. */
async function lineOf(reply: RawReply | undefined, through = gateway): Promise<GenerationLine> {
  const id = reply?.headers.get("x-request-id");
  const find = () => through.generations().find((line) => line.request_id === id);
  await eventually(`a line of ${id}`, () => find() !== undefined);
  return find() as GenerationLine;
}

async function nothingIsLeft(through = gateway, engines: readonly RecordTail[] = [tail]): Promise<void> {
  await eventually("the engine has nothing left", () => engines.every((each) => each.open().length === 0));
  expect(await through.gauge("weir_requests_in_flight")).toBe(0);
  expect(await through.gauge("weir_requests_queued")).toBe(0);
}

/** An answer that fails before anything was sent: its own status, and one error as OpenAI's API has it. */
function expectRefusal(reply: RawReply | undefined, status: number, code: string): void {
  expect([reply?.status, reply?.whole]).toEqual([status, true]);
  const { error } = JSON.parse(reply?.body ?? "{}");
  expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
  expect([error.code, error.type]).toEqual([code, "server_error"]);
  expect(reply?.body).not.toMatch(/127\.0\.0\.1|Error:|\bat \//);
}

/** A stream that fails on its way: what came is what the engine said, then one error, then the end without a mark. */
function expectBroken(reply: RawReply | undefined, code: string, text: string): void {
  expect([reply?.status, reply?.whole]).toEqual([200, true]);
  const events = eventsOf(reply?.body ?? "");
  expect(events.errors.map((error) => error.code)).toEqual([code]);
  expect([events.dones, events.finishes]).toEqual([0, []]);
  expect(events.chunks.at(-1)?.error?.code).toBe(code);
  expect(plain(events.text)).toBe(plain(text));
  expect(reply?.body).not.toMatch(/127\.0\.0\.1|Error:|\bat \//);
}

interface Row {
  readonly fault: string;
  readonly command: string;
  readonly status: number;
  readonly code: string;
  readonly reason: string;
  /** The longest that it may take, for a stream and for an answer in one piece. */
  readonly afterMs: readonly [number, number];
}

const soon = [0, 0] as const;

/** Before anything was sent. */
const early: readonly Row[] = [
  {
    fault: "cut",
    command: "[[sim cut after=0]]",
    status: 502,
    code: "upstream_unavailable",
    reason: "ENGINE_UNAVAILABLE",
    afterMs: soon,
  },
  {
    fault: "hang",
    command: "[[sim hang after=0]]",
    status: 504,
    code: "upstream_timeout",
    reason: "ENGINE_TIMEOUT",
    afterMs: [firstEventMs, totalMs],
  },
  {
    fault: "early end",
    command: "[[sim early_end after=0]]",
    status: 502,
    code: "upstream_truncated",
    reason: "ENGINE_TRUNCATED",
    afterMs: soon,
  },
  {
    fault: "error",
    command: "[[sim error after=0]]",
    status: 502,
    code: "upstream_error",
    reason: "ENGINE_FAILED",
    afterMs: soon,
  },
  {
    fault: "refusal of a full queue",
    command: "[[sim reject]]",
    status: 503,
    code: "server_overloaded",
    reason: "ENGINE_OVERLOADED",
    afterMs: soon,
  },
  {
    fault: "delay beyond patience",
    command: "[[sim delay after=0 ms=60000]]",
    status: 504,
    code: "upstream_timeout",
    reason: "ENGINE_TIMEOUT",
    afterMs: [firstEventMs, totalMs],
  },
];

/** After three tokens. */
const late: readonly Row[] = [
  ...early
    .filter(({ fault }) => !fault.startsWith("refusal"))
    .map((row) => ({
      ...row,
      command: row.command.replace("after=0", "after=3"),
      afterMs: row.afterMs[0] === 0 ? soon : ([idleMs, totalMs] as const),
    })),
  {
    fault: "drip slower than patience",
    command: "[[sim drip after=3 ms=60000]]",
    status: 504,
    code: "upstream_timeout",
    reason: "ENGINE_TIMEOUT",
    afterMs: [idleMs, totalMs],
  },
];

/** A cut ends all that its connection carries: these have the engine to themselves. */
const [cuts, others] = [({ fault }: Row) => fault === "cut", ({ fault }: Row) => fault !== "cut"];

describe.each(kinds)("a fault of an engine (%s)", (kind) => {
  const model = `one-${kind}`;

  test.each(early.filter(cuts))("before anything was sent: $fault", async (row) => {
    for (const stream of [true, false]) await expectRefused(row, stream);
    await nothingIsLeft();
  });

  test.each(late.filter(cuts))("after some text: $fault", async (row) => {
    await expectBrokenOff(row);
    await expectRefused(row, false);
    await nothingIsLeft();
  });

  describe("beside others", () => {
    afterAll(() => nothingIsLeft());

    test.concurrent.each(early.filter(others))("before anything was sent: $fault", async (row) => {
      await Promise.all([expectRefused(row, true), expectRefused(row, false)]);
    });

    test.concurrent.each(late.filter(others))("after some text: $fault", async (row) => {
      await Promise.all([expectBrokenOff(row), expectRefused(row, false)]);
    });

    test.concurrent.each([
      "[[sim delay after=0 ms=300]]",
      "[[sim delay after=3 ms=200]]",
      "[[sim drip after=3 ms=30]]",
    ])("that is borne: %s", borne);
  });

  async function expectRefused({ command, status, code, reason, afterMs }: Row, stream: boolean): Promise<void> {
    const client = send({ model, prompt: command, stream });
    const reply = await client.done();
    expectRefusal(reply, status, code);
    expect(reply?.headers.has("retry-after")).toBe(status === 503);
    const [tookMs, expectedMs] = [client.lastByteMs - client.startedMs, afterMs[stream ? 0 : 1]];
    expect(tookMs).toBeGreaterThanOrEqual(expectedMs);
    expect(tookMs).toBeLessThanOrEqual(expectedMs + slackMs);
    expect(await lineOf(reply)).toMatchObject({ end: "failed", reason, attempts: [{ outcome: reason }] });
  }

  async function expectBrokenOff({ command, code, reason, afterMs }: Row): Promise<void> {
    const client = send({ model, prompt: command, stream: true });
    const reply = await client.done();
    expectBroken(reply, code, textOf(command, 3));
    const tookMs = client.lastByteMs - client.startedMs;
    expect(tookMs).toBeGreaterThanOrEqual(afterMs[0]);
    expect(tookMs).toBeLessThanOrEqual(afterMs[0] + slackMs);
    expect(await lineOf(reply)).toMatchObject({ end: "failed", reason, attempts: [{ outcome: reason }] });
  }

  async function borne(prompt: string): Promise<void> {
    const [reply, whole] = await Promise.all([true, false].map((stream) => send({ model, prompt, stream }).done()));
    const events = eventsOf(reply?.body ?? "");
    expect([events.errors, events.dones, events.finishes]).toEqual([[], 1, ["length"]]);
    expect(plain(events.text)).toBe(plain(textOf(prompt, 12)));
    const { choices } = JSON.parse(whole?.body ?? "");
    expect(choices).toMatchObject([{ text: textOf(prompt, 12), finish_reason: "length" }]);
    expect(await lineOf(reply)).toMatchObject({ end: "ok", attempts: [{ outcome: "ok" }] });
  }
});

describe("an engine that is killed", () => {
  test.each(["queue", "prefill", "decode"] as const)(
    "while requests are in its %s: each ends once, at once",
    async (phase) => {
      await using victim = await startSimulatorProcess([
        "--decode-ms",
        "20",
        ...(phase === "queue" ? ["--slots", "1"] : []),
      ]);
      using record = new RecordTail(victim.recordPath);
      await using through = await startGateway(yamlFor([{ name: "one", engines: [victim], patient: true }]));
      const ask = (kind: Kind, stream: boolean, prompt: string) =>
        send({ model: `one-${kind}`, prompt, stream, min_tokens: 4_000, max_tokens: 4_000 }, through);
      const blocker = phase === "queue" ? ask("http", true, "[[sim hang after=0]]") : undefined;
      if (blocker) await eventually("the slot is taken", () => record.open().length === 1);
      const prompt = phase === "decode" ? "go on and on" : "[[sim delay after=0 ms=60000]]";
      const clients = kinds.flatMap((kind) =>
        [true, false].map((stream) => ({ stream, client: ask(kind, stream, prompt) })),
      );
      const reached = { queue: "received", prefill: "started", decode: "produced" } as const;
      const waiting = clients.length + (blocker ? 1 : 0);
      await eventually(
        `all are in ${phase}`,
        () => record.read().filter(({ at }) => at.has(reached[phase])).length === waiting,
      );
      if (phase === "decode")
        await eventually("streams have text", () =>
          clients.every(({ stream, client }) => !stream || client.text !== ""),
        );
      const killedMs = performance.now();
      await victim.kill("SIGKILL");
      for (const { stream, client } of clients) {
        const reply = await client.done();
        if (stream && phase === "decode") {
          const { text, errors, dones } = eventsOf(reply?.body ?? "");
          expect([errors.map(({ code }) => code), dones]).toEqual([["upstream_unavailable"], 0]);
          expect(plain(textOf(prompt, 400))).toContain(plain(text));
        } else expectRefusal(reply, 502, "upstream_unavailable");
        expect(client.lastByteMs - killedMs).toBeLessThan(slackMs);
        expect(await lineOf(reply, through)).toMatchObject({ end: "failed", reason: "ENGINE_UNAVAILABLE" });
      }
      await blocker?.done();
      await nothingIsLeft(through, []);
    },
  );
});

describe("one of two replicas is killed", () => {
  async function withTwo(run: (world: Two) => Promise<void>): Promise<void> {
    await using first = await startSimulatorProcess(["--decode-ms", "20"]);
    await using second = await startSimulatorProcess(["--decode-ms", "20"]);
    using firstRecord = new RecordTail(first.recordPath);
    using secondRecord = new RecordTail(second.recordPath);
    await using through = await startGateway(yamlFor([{ name: "two", engines: [first, second], patient: true }]));
    await run({ first, records: [firstRecord, secondRecord], through });
    await nothingIsLeft(through, [secondRecord]);
  }

  const ask = ({ through }: Two, stream: boolean, prompt: string) =>
    kinds.flatMap((kind) =>
      Array.from({ length: 4 }, () =>
        send({ model: `two-${kind}`, prompt, stream, min_tokens: 40, max_tokens: 40 }, through),
      ),
    );
  const have = ({ records }: Two, event: "started" | "produced", count: number) =>
    eventually(
      `${count} have ${event}`,
      () => records.flatMap((each) => each.read()).filter(({ at }) => at.has(event)).length === count,
    );

  test.each([true, false])("before the first byte: nobody notices (streaming: %s)", async (stream) => {
    await withTwo(async (world) => {
      const prompt = "[[sim delay after=0 ms=1500]]";
      const clients = ask(world, stream, prompt);
      await have(world, "started", clients.length);
      const victims = world.records[0].open().length;
      expect(victims).toBeGreaterThanOrEqual(kinds.length);
      await world.first.kill("SIGKILL");
      let again = 0;
      for (const client of clients) {
        const reply = await client.done();
        expect(reply?.status).toBe(200);
        const text = stream ? eventsOf(reply?.body ?? "").text : JSON.parse(reply?.body ?? "").choices[0].text;
        expect(plain(text)).toBe(plain(textOf(prompt, 40)));
        const { end, attempts } = await lineOf(reply, world.through);
        expect([end, attempts.at(-1)?.outcome]).toEqual(["ok", "ok"]);
        if (attempts.length > 1) again++;
      }
      expect(again).toBe(victims);
    });
  });

  test("after the first byte: its streams end with one error, the other's go on", async () => {
    await withTwo(async (world) => {
      const prompt = "go on";
      const clients = ask(world, true, prompt);
      await have(world, "produced", clients.length);
      await eventually("all have text", () => clients.every((client) => client.text !== ""));
      const victims = world.records[0].open().length;
      await world.first.kill("SIGKILL");
      let broken = 0;
      for (const client of clients) {
        const reply = await client.done();
        const { errors, dones, text } = eventsOf(reply?.body ?? "");
        const { attempts } = await lineOf(reply, world.through);
        expect(attempts).toHaveLength(1);
        if (errors.length > 0) {
          broken++;
          expect([errors.map(({ code }) => code), dones]).toEqual([["upstream_unavailable"], 0]);
          expect(plain(textOf(prompt, 40)).startsWith(plain(text))).toBe(true);
        } else expect([dones, plain(text)]).toEqual([1, plain(textOf(prompt, 40))]);
      }
      expect(broken).toBe(victims);
    });
  });
});

interface Two {
  readonly first: SimulatorProcess;
  readonly records: readonly [RecordTail, RecordTail];
  readonly through: Gateway;
}

test.each(kinds)("a request that kills its engine is not given to a third (%s)", async (kind) => {
  await using engines = new AsyncDisposableStack();
  const all = await Promise.all(
    Array.from({ length: 4 }, () => startSimulator({ openai: { port: 0 }, triton: { port: 0 } })),
  );
  for (const each of all) engines.use(each);
  await using through = await startGateway(yamlFor([{ name: "many", engines: all, patient: true }]));
  const reply = await send({ model: `many-${kind}`, prompt: "[[sim crash after=0]]", stream: true }, through).done();
  expectRefusal(reply, 502, "upstream_unavailable");
  const crashed = all.filter(({ recorder }) => recorder.entries().some(({ fault }) => fault === "crash"));
  expect(crashed.length).toBeGreaterThan(0);
  expect(crashed.length).toBeLessThanOrEqual(2);
  expect(await lineOf(reply, through)).toMatchObject({ end: "failed", reason: "ENGINE_UNAVAILABLE" });
});
