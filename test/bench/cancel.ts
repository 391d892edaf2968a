import { parseArgs } from "node:util";
import { existsSync, readFileSync } from "node:fs";
import { systemClock } from "../../services/runtime/clock.ts";
import type { Event } from "../../services/simulator/record.ts";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { RawRequest } from "../fakes/raw-request.ts";
import { endOf, RecordTail, type Traced } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";
import { type EngineWay, engineWays, modelId, wayNamed } from "./engine-ways.ts";
import { quantile } from "./statistics.ts";

/** Where a request is when its client leaves. */
export const phases = ["gateway queue", "engine queue", "prefill", "decode"] as const;
export type Phase = (typeof phases)[number];

/** A way through the gateway to an engine. */
interface Way {
  readonly name: string;
  /** Also the model's id, for requests that need not wait; `<id>-narrow` is the same behind a pool of two places. */
  readonly id: string;
  readonly engine: "decoupled" | "plain";
  readonly protocol: EngineWay;
  readonly stream: boolean;
}

/** A protocol as it streams and as it answers in one piece. */
function waysOver(protocol: EngineWay): readonly Way[] {
  return [true, false].map((stream) => ({
    name: `${protocol.name}, ${stream ? "streaming" : "in one piece"}`,
    id: `${modelId(protocol)}-${stream ? "stream" : "whole"}`,
    engine: "decoupled",
    protocol,
    stream,
  }));
}

const ensemble = wayNamed("Triton ensemble");

/** Every way to every engine. */
const allWays: readonly Way[] = [
  ...engineWays.flatMap(waysOver),
  // Such a model is asked by the unary call, and a stream of it is one piece.
  { name: "Triton ensemble, unary", id: "ensemble-unary", engine: "plain", protocol: ensemble, stream: false },
];

/** What became of the requests whose clients left. Times from the client's close to the engine's own record of the end. */
export interface Aborts {
  readonly way: string;
  readonly phase: Phase;
  readonly aborted: number;
  /** Milliseconds; none for those that never reached the engine. */
  readonly latencies: readonly number[];
  /** They reached the engine although their client had left before. */
  readonly reached: number;
  /** The engine still had them after the patience below. */
  readonly orphans: number;
  /** They ended by themselves, long after their client had left. */
  readonly finished: number;
  /** The longest that a process of the three had to wait for a core meanwhile, in milliseconds. */
  readonly starvedMs: number;
}

export interface CancelResult {
  readonly rows: readonly Aborts[];
  /** Gauges of the gateway afterwards. */
  readonly inFlight: number;
  readonly queued: number;
  /** Requests that the engines still had afterwards, whatever they were. */
  readonly open: number;
}

const contextTokens = 400_000;
const answerTokens = 2_000;
const placesNarrow = 2;
/** Between two clients' leaving. */
const spacingMs = 4;
const patienceMs = 3_000;
/** A machine that lets one of the processes wait this long for a core was measured, and not the gateway: once more. */
const starvedMsMax = 60;
const triesMax = 6;

/**
 * Clients that leave, spread evenly over ways and phases, through the whole gateway in a process of its own.
 *
 * @param engineNames parts of the names of the protocols that are taken.
 */
export async function aborts(total: number, engineNames: readonly string[]): Promise<CancelResult> {
  const ways = allWays.filter(({ protocol }) => engineNames.some((part) => protocol.name.includes(part)));
  const flags = ["--slots", "512", "--context", String(contextTokens), "--kv-tokens", String(contextTokens)];
  const speed = ["--prefill-ms", "0.001", "--decode-ms", "25"];
  await using decoupled = await startSimulatorProcess([...flags, ...speed]);
  await using plain = await startSimulatorProcess([...flags, ...speed, "--no-decoupled"]);
  const engines = { decoupled, plain };
  await using gateway = await startGateway(yamlFor(ways, engines));
  using decoupledTail = new RecordTail(decoupled.recordPath);
  using plainTail = new RecordTail(plain.recordPath);
  const tails = { decoupled: decoupledTail, plain: plainTail };
  const each = Math.ceil(total / (ways.length * phases.length));
  const rows: Aborts[] = [];
  for (const way of ways) {
    for (const phase of phases) {
      const given = { gateway, way, phase, engine: engines[way.engine], tail: tails[way.engine], count: each };
      rows.push(await undisturbed(() => wave(given)));
    }
  }
  const inFlight = await gateway.gauge("weir_requests_in_flight");
  const queued = await gateway.gauge("weir_requests_queued");
  return { rows, inFlight, queued, open: decoupledTail.open().length + plainTail.open().length };
}

/** The measurement that the machine disturbed least. Whoever was left behind in any of them stays counted. */
async function undisturbed(measure: () => Promise<Aborts>): Promise<Aborts> {
  const tries: Aborts[] = [];
  do tries.push(await measure());
  while ((tries.at(-1)?.starvedMs ?? 0) > starvedMsMax && tries.length < triesMax);
  const best = tries.toSorted((a, b) => a.starvedMs - b.starvedMs)[0] as Aborts;
  const sum = (count: (one: Aborts) => number) => tries.reduce((total, one) => total + count(one), 0);
  return {
    ...best,
    orphans: sum(({ orphans }) => orphans),
    finished: sum(({ finished }) => finished),
    reached: best.phase === "gateway queue" ? sum(({ reached }) => reached) : best.reached,
  };
}

/** How long the main threads of processes have waited for a core so far, in milliseconds; 0 where it is not told. */
function waitedMs(pids: readonly number[]): readonly number[] {
  return pids.map((pid) => {
    const path = `/proc/${pid}/schedstat`;
    return existsSync(path) ? Number(readFileSync(path, "utf8").split(" ")[1]) / 1e6 : 0;
  });
}

function yamlFor(ways: readonly Way[], engines: Readonly<Record<Way["engine"], SimulatorProcess>>): string {
  const models: string[] = [];
  const pools: string[] = [];
  for (const { id, engine, protocol } of ways) {
    for (const [name, places] of [
      [id, 256],
      [`${id}-narrow`, placesNarrow],
    ]) {
      const replica = `{ url: "${engines[engine][protocol.url]}" }`;
      pools.push(`  - { id: ${name}, replicas: [${replica}], engine_key: good-key, concurrency_max: ${places} }`);
      models.push(`  - { id: ${name}, pool: ${name}, engine_model: ${protocol.engineModel} }`);
    }
  }
  return `pools:\n${pools.join("\n")}\nmodels:\n${models.join("\n")}\n`;
}

interface Wave {
  readonly gateway: Gateway;
  readonly way: Way;
  readonly phase: Phase;
  readonly engine: SimulatorProcess;
  readonly tail: RecordTail;
  readonly count: number;
}

/** The size of its prompt tells a request apart in the engine's record, which knows nothing of clients. */
let nextSize = 64;

/** Before a chat's text the simulated engine puts who speaks. */
const speaker = "<user>";

/** A prompt of so many tokens, at four bytes each. An answer to it does not end by itself before a client leaves. */
function promptOf(size: number, command: string): string {
  return `[[sim length=${answerTokens}]]${command}`.padEnd(size * 4, "river ");
}

function bodyOf({ protocol, stream }: Way, model: string, size: number, command: string): object {
  const prompt = promptOf(size, command);
  const content = prompt.slice(0, prompt.length - speaker.length);
  const isChat = protocol.endpoint === "chat/completions";
  const asked = isChat ? { messages: [{ role: "user", content }] } : { prompt };
  return { model, ...asked, stream, max_tokens: answerTokens };
}

async function wave(given: Wave): Promise<Aborts> {
  const { gateway, way, phase, engine, tail, count } = given;
  const hang = "[[sim hang after=0]]";
  const send = (asked: string, size: number, command: string) =>
    gateway.ask(`/v1/${way.protocol.endpoint}`, bodyOf(way, asked, size, command));
  const model = phase === "gateway queue" ? `${way.id}-narrow` : way.id;
  const blockers =
    phase === "gateway queue" ? Array.from({ length: placesNarrow }, () => send(model, nextSize++, hang)) : [];
  using blocked = phase === "engine queue" ? await fillMemory(engine, tail) : undefined;
  if (blockers.length > 0) await eventually("both places are taken", () => tail.open().length === placesNarrow, 10_000);

  const sizes = Array.from({ length: count }, () => nextSize++);
  const command = phase === "prefill" ? "[[sim delay after=0 ms=600000]]" : "";
  const clients = sizes.map((size) => send(model, size, command));
  const traced = () => new Map(tail.read().map((one) => [one.promptTokens, one]));
  if (phase === "gateway queue") await queued(gateway, count);
  else await eventually(`${way.name}: all in ${phase}`, () => allIn(phase, sizes, traced()), 20_000);

  const pids = [process.pid, gateway.weir.pid, engine.pid];
  const waitedBeforeMs = waitedMs(pids);
  const leftMs = await leaveAll(clients);
  const isOver = (one: Traced | undefined) => one !== undefined && endOf(one) !== undefined;
  if (phase === "gateway queue") {
    await queued(gateway, 0);
    for (const blocker of blockers) blocker.leave();
    await eventually(`${way.name}: the engine has nothing of those who left`, () => tail.open().length === 0);
  } else {
    // What is not over by then is counted as an orphan.
    await eventually("all are over", () => sizes.every((size) => isOver(traced().get(size))), patienceMs).catch(
      () => undefined,
    );
  }
  const starvedMs = Math.max(...waitedMs(pids).map((ms, at) => ms - (waitedBeforeMs[at] ?? 0)));
  blocked?.[Symbol.dispose]();
  const found = traced();
  const latencies = sizes.flatMap((size, at) => {
    const cancelledMs = found.get(size)?.at.get("cancelled");
    return cancelledMs === undefined ? [] : [Math.max(0, cancelledMs - (leftMs[at] ?? 0))];
  });
  const ended = (event: Event) => sizes.filter((size) => found.get(size)?.at.has(event)).length;
  return {
    way: way.name,
    phase,
    aborted: count,
    latencies,
    reached: ended("received"),
    orphans: sizes.filter((size) => found.has(size) && !isOver(found.get(size))).length,
    finished: ended("finished"),
    starvedMs,
  };
}

function allIn(phase: Phase, sizes: readonly number[], traced: ReadonlyMap<number, Traced>): boolean {
  return sizes.every((size) => {
    const at = traced.get(size)?.at;
    if (at === undefined) return false;
    if (phase === "engine queue") return !at.has("started");
    return phase === "prefill" ? at.has("started") && !at.has("produced") : at.has("produced");
  });
}

/** A request that needs all of the engine's memory, from beside the gateway: everyone else waits in the engine. */
async function fillMemory(engine: SimulatorProcess, tail: RecordTail): Promise<Disposable> {
  const blocker = new RawRequest({
    port: Number(new URL(engine.httpUrl).port),
    key: "",
    path: "/v1/completions",
    body: {
      model: "weir-sim",
      prompt: "[[sim hang after=0]]",
      max_tokens: contextTokens - 5,
      ignore_eos: true,
      stream: true,
    },
  });
  await eventually("the memory is taken", () => tail.open().some((one) => one.at.has("started")));
  return { [Symbol.dispose]: () => blocker.leave() };
}

async function queued(gateway: Gateway, count: number): Promise<void> {
  const endMs = performance.now() + 10_000;
  while ((await gateway.gauge("weir_requests_queued")) !== count) {
    if (performance.now() > endMs) throw new Error(`${await gateway.gauge("weir_requests_queued")} wait, not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Closes and resets in turns. Returns when each left, by the clock that the record uses. */
async function leaveAll(clients: readonly RawRequest[]): Promise<readonly number[]> {
  const leftMs: number[] = [];
  for (const [at, client] of clients.entries()) {
    leftMs.push(systemClock.nowMs());
    client.leave(at % 2 === 0 ? "close" : "reset");
    await new Promise((resolve) => setTimeout(resolve, spacingMs));
  }
  return leftMs;
}

const summaryOf = (latencies: readonly number[]) => ({
  "p50 ms": quantile(latencies, 0.5),
  "p99 ms": quantile(latencies, 0.99),
  "max ms": Math.max(...latencies),
});

/** 1,000 clients that leave: prints how soon the engine's own record shows it, by way and phase. */
export async function cancel(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { engine: { type: "string", multiple: true, default: [""] }, total: { type: "string", default: "1000" } },
  });
  const { rows, ...after } = await aborts(Number(values.total), values.engine);
  console.table(
    rows.map(({ way, phase, aborted, latencies, reached, orphans, finished, starvedMs }) => ({
      way,
      phase,
      aborted,
      ...(latencies.length > 0 ? summaryOf(latencies) : {}),
      "reached the engine": reached,
      orphans,
      "ended by itself": finished,
      "waited for a core, ms": Math.round(starvedMs),
    })),
  );
  const sumsOf = (found: readonly Aborts[]) => {
    const latencies = found.flatMap((row) => row.latencies);
    const sum = (count: (row: Aborts) => number) => found.reduce((total, row) => total + count(row), 0);
    return {
      aborted: sum(({ aborted }) => aborted),
      ...(latencies.length > 0 ? summaryOf(latencies) : {}),
      orphans: sum(({ orphans }) => orphans),
    };
  };
  const byPhase = phases.map((phase) => ({ phase, ...sumsOf(rows.filter((row) => row.phase === phase)) }));
  const byEngine = engineWays
    .map(({ name }) => ({ engine: name, found: rows.filter(({ way }) => way.startsWith(`${name},`)) }))
    .filter(({ found }) => found.length > 0)
    .map(({ engine, found }) => ({ engine, ...sumsOf(found) }));
  console.table(byEngine);
  console.table([...byPhase, { phase: "all", ...sumsOf(rows) }]);
  console.log(JSON.stringify({ bench: "cancel", ...after, byPhase, byEngine }));
}
