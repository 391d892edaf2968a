import { Pool } from "undici";
import { eventsOf } from "../fakes/raw-request.ts";
import { startSimulatorProcess } from "../fakes/simulator-process.ts";
import { cpuOf, withPeakRss } from "./cpu.ts";
import { startWeir } from "./weir.ts";

const streams = 512;
const framesPerStream = 64;
const paceMs = 50;
/** They bring code and connections to what they are under load, in a quarter of the time. */
const warmingFrames = 16;

const prompt = "Tell me how a weir measures a river.";

/**
 * 512 streams of 64 frames at 50 ms from Triton's gRPC, on one connection, through one process: streams whose text is
 * not to the letter what the engine says without a gateway, memory a stream.
 */
export async function streamsThroughTriton(): Promise<{
  readonly lost: number;
  readonly kibPerStream: number;
  readonly failed: number;
}> {
  await using engine = await startSimulatorProcess(["--slots", String(streams), "--decode-ms", String(paceMs)]);
  await using weir = await startWeir({ engineUrl: engine.grpcUrl }, "measured");
  await using pool = poolTo(weir.url);
  const ask = (frames: number) => stream(pool, weir.key, bodyOf("vllm_model", frames));
  await Promise.all(Array.from({ length: streams / 4 }, () => ask(warmingFrames)));
  const [before, beganMs] = [cpuOf(weir.pid), performance.now()];
  const [bodies, grownBytes] = await withPeakRss(weir.pid, () =>
    Promise.all(Array.from({ length: streams }, () => ask(framesPerStream))),
  );
  const elapsedMs = performance.now() - beganMs;
  const usedUs = cpuOf(weir.pid).ranUs - before.ranUs;
  await using direct = poolTo(engine.httpUrl);
  const wanted = eventsOf((await stream(direct, "", bodyOf("weir-sim", framesPerStream))) ?? "").text;
  const answers = bodies.map((body) => body && eventsOf(body));
  const summary = {
    bench: "streams-triton",
    streams,
    failed: answers.filter((answer) => !answer || answer.dones !== 1 || answer.errors.length > 0).length,
    lost: answers.filter((answer) => answer && answer.text !== wanted).length,
    kibPerStream: Math.round(grownBytes / streams / 1_024),
    cpuUsPerFrame: Number((usedUs / (streams * framesPerStream)).toFixed(1)),
    elapsedMs: Math.round(elapsedMs),
  };
  console.table([summary]);
  console.log(JSON.stringify(summary));
  return summary;
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
