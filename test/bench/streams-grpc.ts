import { Pool } from "undici";
import { eventsOf } from "../fakes/raw-request.ts";
import { startSimulatorProcess } from "../fakes/simulator-process.ts";
import { cpuOf, withPeakRss } from "./cpu.ts";
import { type EngineWay, engineWays, isGrpc, modelId } from "./engine-ways.ts";
import { startWeir } from "./weir.ts";

const streams = 512;
const framesPerStream = 64;
const paceMs = 50;
/** They bring code and connections to what they are under load, in a quarter of the time. */
const warmingFrames = 16;

const prompt = "Tell me how a weir measures a river.";

/** What came of all the streams of one engine. */
export interface StreamsResult {
  readonly engine: string;
  readonly failed: number;
  /** What was said of those, each once. */
  readonly failures: readonly string[];
  /** Their text is not to the letter what the engine says without a gateway. */
  readonly lost: number;
  readonly kibPerStream: number;
  readonly cpuUsPerFrame: number;
  readonly elapsedMs: number;
}

/** The engines that are spoken to over gRPC. */
export const grpcWays = engineWays.filter(isGrpc);

/** 512 streams of 64 frames at 50 ms over each gRPC, on one connection, through one process. */
export async function streamsOverGrpc(): Promise<readonly StreamsResult[]> {
  const results: StreamsResult[] = [];
  for (const way of grpcWays) results.push(await streamsFrom(way));
  console.table(results);
  console.log(JSON.stringify({ bench: "streams-grpc", streams, results }));
  return results;
}

/** The streams of one engine, through a gateway of its own: what a stream takes of memory shows in fresh ones only. */
export async function streamsFrom(way: EngineWay): Promise<StreamsResult> {
  await using engine = await startSimulatorProcess(["--slots", String(streams), "--decode-ms", String(paceMs)]);
  const pool = `  - { id: engine, replicas: [{ url: "${engine[way.url]}" }], concurrency_max: 1024 }`;
  const model = `  - { id: ${modelId(way)}, pool: engine, engine_model: ${way.engineModel} }`;
  await using weir = await startWeir({ yaml: `pools:\n${pool}\nmodels:\n${model}\n` }, "measured");
  await using clients = poolTo(weir.url);
  const ask = (frames: number) => stream(clients, weir.key, bodyOf(modelId(way), frames));
  await Promise.all(Array.from({ length: streams / 4 }, () => ask(warmingFrames)));
  const [before, beganMs] = [cpuOf(weir.pid), performance.now()];
  const [bodies, grownBytes] = await withPeakRss(weir.pid, () =>
    Promise.all(Array.from({ length: streams }, () => ask(framesPerStream))),
  );
  const elapsedMs = performance.now() - beganMs;
  const usedUs = cpuOf(weir.pid).ranUs - before.ranUs;
  await using direct = poolTo(engine.httpUrl);
  const said = eventsOf((await stream(direct, "", bodyOf("weir-sim", framesPerStream))) ?? "").text;
  const wanted = way.engineModel === "ensemble" ? tokenByToken(said) : said;
  const answers = bodies.map((body) => (body === undefined ? undefined : eventsOf(body)));
  return {
    engine: way.name,
    failed: answers.filter((answer) => answer === undefined || answer.dones !== 1 || answer.errors.length > 0).length,
    failures: [...new Set(answers.flatMap((answer) => answer?.errors.map(({ message }) => message) ?? ["no stream"]))],
    lost: answers.filter((answer) => answer && answer.text !== wanted).length,
    kibPerStream: Math.round(grownBytes / streams / 1_024),
    cpuUsPerFrame: Number((usedUs / (streams * framesPerStream)).toFixed(1)),
    elapsedMs: Math.round(elapsedMs),
  };
}

/** The ensemble decodes each token for itself, and a character outside ASCII is a token a byte here. */
function tokenByToken(text: string): string {
  return text.replace(/[^\p{ASCII}]/gu, (character) => "\uFFFD".repeat(Buffer.byteLength(character)));
}

function poolTo(url: string): Pool & AsyncDisposable {
  const pool = new Pool(url, { connections: streams, pipelining: 1, bodyTimeout: 120_000, headersTimeout: 120_000 });
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.close() });
}

function bodyOf(model: string, frames: number): string {
  // A seed makes the engine say the same to everyone.
  return JSON.stringify({ model, prompt, seed: 7, min_tokens: frames, max_tokens: frames, stream: true });
}

/** The whole body; undefined if the answer was none. */
async function stream(pool: Pool, key: string, body: string): Promise<string | undefined> {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const { statusCode, body: answer } = await pool.request({ method: "POST", path: "/v1/completions", headers, body });
  const text = await answer.text();
  return statusCode === 200 ? text : undefined;
}
