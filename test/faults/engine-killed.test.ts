import { describe, expect, test } from "vitest";
import { startSimulator } from "../../services/simulator/simulator.ts";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { eventsOf, type RawReply } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";
import {
  expectRefusal,
  type Kind,
  kinds,
  lineOf,
  nothingIsLeft,
  plain,
  send,
  textOf,
  yamlFor,
} from "./engine-kinds.ts";

/** How late an end may be noticed on a busy machine. */
const slackMs = 1_000;

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
      await using through = await startGateway(yamlFor([{ name: "one", engines: [victim] }]));
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
    await using through = await startGateway(yamlFor([{ name: "two", engines: [first, second] }]));
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

test.each(kinds)("a request that kills engines gets two, however often it is sent (%s)", async (kind) => {
  await using engines = new AsyncDisposableStack();
  const all = await Promise.all(
    Array.from({ length: 4 }, () => startSimulator({ openai: { port: 0 }, triton: { port: 0 } })),
  );
  for (const each of all) engines.use(each);
  await using through = await startGateway(yamlFor([{ name: "many", engines: all }]));
  const crashed = () => all.filter(({ recorder }) => recorder.entries().some(({ fault }) => fault === "crash")).length;
  const received = () => all.reduce((sum, { recorder }) => sum + recorder.entries().length, 0);
  const wish = { model: `many-${kind}`, prompt: "[[sim crash after=0]]", stream: true };

  const reply = await send(wish, through).done();
  expectQuarantine(reply);
  expect(crashed()).toBe(2);
  expect(await lineOf(reply, through)).toMatchObject({
    end: "failed",
    reason: "REQUEST_QUARANTINED",
    attempts: [{ outcome: "ENGINE_UNAVAILABLE" }, { outcome: "ENGINE_UNAVAILABLE" }],
  });

  const heard = received();
  for (let time = 0; time < 3; time += 1) expectQuarantine(await send(wish, through).done());
  expect([crashed(), received()]).toEqual([2, heard]);
  const harmless = await send({ ...wish, prompt: "tell me of the river", stream: false }, through).done();
  expect(harmless?.status).toBe(200);
});

test("a request that kills engines among others gets four, and it alone is refused", async () => {
  await using engines = new AsyncDisposableStack();
  const all = await Promise.all(Array.from({ length: 6 }, () => startSimulator({ openai: { port: 0 } })));
  for (const each of all) engines.use(each);
  const urls = all.map((each) => ({ httpUrl: each.httpUrl, grpcUrl: each.httpUrl }));
  await using through = await startGateway(yamlFor([{ name: "many", engines: urls }]));
  const crashed = () => all.filter(({ recorder }) => recorder.entries().some(({ fault }) => fault === "crash")).length;
  const started = () =>
    all.flatMap(({ recorder }) => recorder.entries()).filter(({ event }) => event === "started").length;
  const ask = (prompt: string) => send({ model: "many-http", prompt, stream: false }, through).done();
  const patient = async (prompt: string): Promise<readonly number[]> => {
    const statuses: number[] = [];
    while (statuses.at(-1) !== 200 && statuses.at(-1) !== 422) statuses.push((await ask(prompt))?.status ?? 0);
    return statuses;
  };

  const bystanders = Array.from({ length: 30 }, (_, at) => patient(`[[sim delay after=0 ms=3000]] bystander ${at}`));
  await eventually("all run", () => started() === bystanders.length);
  expect(await patient("[[sim crash after=0]]")).toEqual([502, 502, 422]);
  expect(crashed()).toBe(4);
  for (const statuses of await Promise.all(bystanders)) expect(statuses.at(-1)).toBe(200);
});

/** What no client tries again by itself. */
function expectQuarantine(reply: RawReply | undefined): void {
  expect([reply?.status, reply?.headers.get("x-should-retry"), reply?.headers.get("retry-after")]).toEqual([
    422,
    "false",
    undefined,
  ]);
  const { error } = JSON.parse(reply?.body ?? "{}");
  expect(error).toMatchObject({ type: "invalid_request_error", code: "request_quarantined", param: null });
  expect(error.message).toContain("Don't send it again as it is");
}
