import { fromJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CreateKeyResponseSchema } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { EndReason, type UsageRecord } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { reasonName } from "../../services/runtime/errors/reason-name.ts";
import { type Installation, type Shape, shapes, startInstallation } from "../fakes/installation.ts";
import { settledLedger } from "../fakes/ledger.ts";
import { eventsOf, RawRequest } from "../fakes/raw-request.ts";
import { endOf, RecordTail, type Traced } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

/** Long enough that an abort reaches the engine before its next token. */
const decodeMs = 60;

let engines: readonly SimulatorProcess[];
let tails: readonly RecordTail[];
let weir: Installation;
/** Requests that were admitted so far. */
let admitted = 0;
/** What each shape's ledger said in each test: how requests ended, and what whole answers cost. */
const said = new Map(shapes.map((shape) => [shape, new Set<string>()]));
let shapeNow: Shape = "one process";

/** Engines and models, and an installation that has them. */
async function open(shape: Shape): Promise<void> {
  shapeNow = shape;
  const flags = ["--decode-ms", String(decodeMs), "--prefill-ms", "0"];
  engines = await Promise.all([startSimulatorProcess(flags), startSimulatorProcess(flags)]);
  tails = engines.map(({ recordPath }) => new RecordTail(recordPath));
  const [a, b] = engines;
  const pools = [
    `  - { id: one, replicas: [{ url: "${a?.httpUrl}" }] }`,
    `  - { id: narrow, replicas: [{ url: "${a?.httpUrl}" }], concurrency_max: 1 }`,
    `  - { id: pair, replicas: [{ url: "${a?.httpUrl}" }, { url: "${b?.httpUrl}" }] }`,
    `  - { id: triton, replicas: [{ url: "${a?.grpcUrl}" }] }`,
  ];
  const models = [
    ...["one", "narrow", "pair"].map((id) => `  - { id: ${id}, pool: ${id}, engine_model: weir-sim }`),
    "  - { id: triton, pool: triton, engine_model: ensemble }",
  ];
  const yaml = `pools:\n${pools.join("\n")}\nmodels:\n${models.join("\n")}\naliases: [{ id: nick, model: one }]\n`;
  weir = await startInstallation(shape, { yaml });
  admitted = 0;
  known = new Set();
}

async function close(): Promise<void> {
  await weir?.[Symbol.asyncDispose]();
  for (const tail of tails ?? []) tail[Symbol.dispose]();
  for (const engine of engines ?? []) await engine[Symbol.asyncDispose]();
}

interface Wish {
  readonly model: string;
  readonly prompt?: string;
  readonly tokens?: number;
  readonly stream?: boolean;
  readonly key?: string;
  readonly timeoutMs?: number;
}

function ask({ model, prompt = "Say something.", tokens = 5, stream = true, key, timeoutMs }: Wish): RawRequest {
  admitted += 1;
  return new RawRequest({
    port: Number(new URL(weir.gateway.url).port),
    key: key ?? weir.key,
    path: "/v1/completions",
    body: { model, prompt, stream, max_tokens: tokens, min_tokens: tokens },
    headers: timeoutMs === undefined ? {} : { "x-weir-timeout-ms": String(timeoutMs) },
  });
}

/** All that the engines have of a request, in the order of its tries. */
function tracedOf(requestId: string): readonly Traced[] {
  const all = tails.flatMap((tail) => tail.read()).filter(({ id }) => id.startsWith(requestId));
  return all.toSorted((x, y) => (x.id < y.id ? -1 : 1));
}

const openAtEngines = () => tails.flatMap((tail) => tail.open());
const deltasOf = (request: RawRequest) => eventsOf(request.text).chunks.length;

/** The records that are new when everything has settled. */
let known = new Set<string>();
async function fresh(): Promise<UsageRecord[]> {
  await eventually("the engines are idle", () => openAtEngines().length === 0, 10_000);
  const records = await settledLedger(weir.control.url, weir.key, admitted);
  const found = [...records.values()].filter(({ requestId }) => !known.has(requestId));
  known = new Set(records.keys());
  for (const record of found) said.get(shapeNow)?.add(entryOf(record));
  return found;
}

/** What must not depend on the shape: what an answer that was cut had cost depends on the moment. */
function entryOf(record: UsageRecord): string {
  const test = expect.getState().currentTestName?.replace(shapeNow, "");
  const whole = record.endReason === EndReason.COMPLETED;
  return `${test} > ended ${record.endReason} ${whole ? `${promptOf(record)} + ${answerOf(record)}` : ""}`;
}

async function freshOne(): Promise<UsageRecord> {
  const [record, ...others] = await fresh();
  if (!record || others.length > 0) throw new Error(`${others.length + (record ? 1 : 0)} records are new`);
  return record;
}

const promptOf = (record: UsageRecord) => Number(record.tokens?.promptTokens);
const answerOf = (record: UsageRecord) => Number(record.tokens?.completionTokens);

/** Ends at a token that both have: what the client saw is billed, and the engine made no more than that and one. */
function expectCut(record: UsageRecord, seen: number): void {
  const [traced] = tracedOf(record.requestId);
  expect(answerOf(record)).toBeGreaterThanOrEqual(seen);
  expect(answerOf(record)).toBeLessThanOrEqual(traced?.tokens ?? 0);
  expect(answerOf(record)).toBeGreaterThanOrEqual((traced?.tokens ?? 0) - 1);
  expect(promptOf(record)).toBeGreaterThan(0);
}

describe.each(shapes)("the ledger beside the engines' own record, in %s:", (shape) => {
  beforeAll(() => open(shape), 60_000);
  afterAll(close);
  const answers: readonly [string, boolean][] = [
    ["one", true],
    ["one", false],
    ["nick", true],
    ["triton", true],
    ["triton", false],
  ];
  test.each(answers)("an answer of %s, streaming %s, is billed to the token", async (model, stream) => {
    const reply = await ask({ model, stream }).done();
    const record = await freshOne();
    const [traced] = tracedOf(record.requestId);
    expect(reply?.status).toBe(200);
    expect([promptOf(record), answerOf(record)]).toEqual([traced?.promptTokens, traced?.tokens]);
    expect(record).toMatchObject({
      requestedModel: model,
      model: model === "nick" ? "one" : model,
      endReason: EndReason.COMPLETED,
      attempts: [{ errorReason: ErrorReason.UNSPECIFIED }],
    });
  });

  test("many at a time", async () => {
    const requests = Array.from({ length: 60 }, (_, i) => ask({ model: i % 2 ? "one" : "pair", tokens: 2 + (i % 5) }));
    await Promise.all(requests.map((request) => request.done()));
    const records = await fresh();
    for (const record of records) {
      const [traced] = tracedOf(record.requestId);
      expect([promptOf(record), answerOf(record)]).toEqual([traced?.promptTokens, traced?.tokens]);
    }
    expect(records).toHaveLength(60);
  });

  test("left while it streams: the prompt, and what had come", async () => {
    const request = ask({ model: "one", tokens: 200 });
    await eventually("some pieces came", () => deltasOf(request) >= 4, 10_000);
    const seen = deltasOf(request);
    request.leave();
    const record = await freshOne();
    expect(record.endReason).toBe(EndReason.CANCELLED);
    expectCut(record, seen);
  });

  test("left before the first token: the prompt, as estimated", async () => {
    const request = ask({ model: "one", prompt: "[[sim delay after=0 ms=60000]]" });
    await eventually("the engine has it", () => openAtEngines().length === 1, 10_000);
    request.leave("reset");
    const record = await freshOne();
    expect(record).toMatchObject({
      endReason: EndReason.CANCELLED,
      tokens: { completionTokens: 0n, promptSource: CountSource.ESTIMATED },
      attempts: [{ errorReason: ErrorReason.CANCELLED }],
    });
    expect(promptOf(record)).toBeGreaterThan(0);
  });

  test("left in the queue: nothing, and the engine never heard of it", async () => {
    const first = ask({ model: "narrow", tokens: 20 });
    await eventually("the place is taken", () => openAtEngines().length === 1, 10_000);
    const waiting = ask({ model: "narrow" });
    await new Promise((resolve) => setTimeout(resolve, 200));
    waiting.leave();
    await first.done();
    const records = await fresh();
    const left = records.find(({ endReason }) => endReason === EndReason.CANCELLED);
    expect([promptOf(left as UsageRecord), answerOf(left as UsageRecord), left?.attempts]).toEqual([0, 0, []]);
    expect(left?.queueTime?.nanos).toBeGreaterThan(0);
    expect(tracedOf(left?.requestId ?? "")).toEqual([]);
    expect(records.map(answerOf).toSorted((x, y) => x - y)).toEqual([0, 20]);
  });

  test("its deadline passed while it streamed: the prompt, and what had come", async () => {
    const request = ask({ model: "one", tokens: 200, timeoutMs: 500 });
    await request.done();
    const record = await freshOne();
    expect(record.endReason).toBe(EndReason.DEADLINE);
    expectCut(record, 1);
  });

  test("its key was revoked while it streamed: the prompt, and what had come", async () => {
    const call = (method: string, body: object) =>
      fetch(`${weir.control.url}/weir.auth.v1.KeyService/${method}`, {
        method: "POST",
        headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    const made = await call("CreateKey", { requestId: crypto.randomUUID(), name: "short" });
    const { key, secret } = fromJson(CreateKeyResponseSchema, JSON.parse(await made.text()));
    const request = ask({ model: "one", tokens: 2_000, key: secret });
    await eventually("it streams", () => deltasOf(request) > 0, 10_000);
    await call("RevokeKey", { keyId: key?.id });
    await request.done();
    const record = await freshOne();
    expect(record).toMatchObject({ endReason: EndReason.REVOKED, keyId: key?.id });
    expectCut(record, 1);
  });

  test("its engine broke off: the prompt, and what had come", async () => {
    await ask({ model: "one", prompt: "[[sim cut after=3]]", tokens: 9 }).done();
    const record = await freshOne();
    expect(record.endReason).toBe(EndReason.FAILED);
    expect(reasonName(record.errorReason)).toMatch(/^ENGINE_/);
    expect(answerOf(record)).toBe(3);
    expect(tracedOf(record.requestId)[0]?.tokens).toBe(3);
  });

  test("all of its tries failed before a token: nothing, and each is listed", async () => {
    const reply = await ask({ model: "pair", prompt: "[[sim error after=0]]", stream: false }).done();
    expect(reply?.status).toBeGreaterThanOrEqual(500);
    const record = await freshOne();
    expect([promptOf(record), answerOf(record), record.endReason]).toEqual([0, 0, EndReason.FAILED]);
    expect(record.attempts).toHaveLength(2);
    expect(tracedOf(record.requestId).map(endOf)).toEqual(["failed", "failed"]);
  });

  test("a second replica answered: the prompt once, and the first try is listed as waste", async () => {
    // It waits there for the first request that comes.
    await fetch(`${engines[0]?.httpUrl}/sim/faults`, { method: "POST", body: JSON.stringify({ kind: "reject" }) });
    for (let tries = 0; tries < 60; tries++) {
      await ask({ model: "pair" }).done();
      const record = await freshOne();
      const all = tracedOf(record.requestId);
      expect([promptOf(record), answerOf(record)]).toEqual([all.at(-1)?.promptTokens, all.at(-1)?.tokens]);
      if (record.attempts.length === 1) continue;
      expect(record).toMatchObject({
        endReason: EndReason.COMPLETED,
        attempts: [{ replicaId: "pair-0" }, { replicaId: "pair-1", errorReason: ErrorReason.UNSPECIFIED }],
        replicaId: "pair-1",
      });
      return;
    }
    throw new Error("no request met the engine that refuses");
  }, 60_000);

  test("what is refused leaves no record", async () => {
    const before = admitted;
    await ask({ model: "unknown" }).done();
    await ask({ model: "one", tokens: 1_000_000 }).done();
    admitted = before;
    expect(await fresh()).toEqual([]);
  });

  test("killed while it streamed, and while others waited: each is lost once, with what had been passed on", async () => {
    const request = ask({ model: "one", tokens: 500 });
    const first = ask({ model: "narrow", tokens: 500 });
    await eventually("both stream", () => deltasOf(request) >= 3 && deltasOf(first) >= 3, 10_000);
    const waiting = ask({ model: "narrow" });
    await new Promise((resolve) => setTimeout(resolve, 300));
    weir.gateway.kill("SIGKILL");
    await weir.gateway.exited;
    const seen = [deltasOf(request), deltasOf(first)];
    await Promise.all([request.closed, first.closed, waiting.closed]);
    await weir.restartGateway();
    const records = await fresh();
    expect(records.map(({ endReason }) => endReason)).toEqual(records.map(() => EndReason.LOST));
    expect(records).toHaveLength(3);
    const answers = records.map(answerOf).toSorted((x, y) => x - y);
    expect(answers[0]).toBe(0);
    expect(answers[1]).toBeGreaterThanOrEqual(Math.min(...seen));
    for (const record of records) {
      const [traced] = tracedOf(record.requestId);
      expect(answerOf(record)).toBeLessThanOrEqual(traced?.tokens ?? 0);
      expect(promptOf(record) > 0).toBe(traced !== undefined);
    }
  });
});

test("both shapes counted the same", () => {
  const [one, two] = shapes.map((shape) => [...(said.get(shape) ?? [])].toSorted());
  expect(one?.length).toBeGreaterThan(10);
  expect(two).toEqual(one);
});
