import { load, type LoadTarget, quantile } from "./load.ts";
import { cpuUs, type Measured, startScript, startWeir } from "./processes.ts";

/** What was measured of one way through. */
interface Row {
  readonly name: string;
  readonly requestUs: number;
  readonly frameUs: number;
  readonly requestsPerS: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly firstFrameP99Ms: number;
  readonly gapP99Ms: number;
}

const rounds = 3;
const requestsPerRound = 6_000;
const streamsPerRound = 128;
const concurrency = 32;
const framesPerStream = 64;

/**
 * CPU a request (0.3 kB of chat, 32 connections) and a streamed frame (64 frames at 5 ms, 32 streams) of the bare proxy
 * and of Weir, in turns in one run; and the mock alone, for the times.
 */
export async function overhead(): Promise<void> {
  await using mock = await startScript("mock-engine.ts", "others");
  await using bare = await startScript("bare-proxy.ts", "measured", [mock.url]);
  await using weir = await startWeir(mock.url, "measured");
  const ways: readonly (readonly [string, Measured, string])[] = [
    ["mock alone", mock, ""],
    ["bare undici proxy", bare, ""],
    ["Weir", weir, weir.key],
  ];
  for (const [, { url }, key] of ways) await load({ url, key, model: "mock", stream: false }, concurrency, 3_000);
  const samples = new Map<string, Row[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, way, key] of ways) {
      samples.set(name, [...(samples.get(name) ?? []), await measure(name, way, key)]);
    }
  }
  const rows = [...samples.values()].map(medianRow);
  print(rows);
}

async function measure(name: string, { url, pid }: Measured, key: string): Promise<Row> {
  const plain: LoadTarget = { url, key, model: "mock", stream: false };
  const [unary, unaryUs] = await withCpu(pid, () => load(plain, concurrency, requestsPerRound));
  const [paced, pacedUs] = await withCpu(pid, () =>
    load({ ...plain, model: "mock-64-5", stream: true }, concurrency, streamsPerRound),
  );
  if (unary.failed + paced.failed > 0)
    throw new Error(`${name}: ${unary.failed} requests and ${paced.failed} streams failed`);
  if (paced.frames !== streamsPerRound * framesPerStream)
    throw new Error(`${name}: ${paced.frames} frames of ${streamsPerRound * framesPerStream}`);
  return {
    name,
    requestUs: unaryUs / unary.requests,
    frameUs: pacedUs / paced.frames,
    requestsPerS: (unary.requests / unary.elapsedMs) * 1_000,
    p50Ms: quantile(unary.latencies, 0.5),
    p99Ms: quantile(unary.latencies, 0.99),
    firstFrameP99Ms: quantile(paced.firstFrames, 0.99),
    gapP99Ms: quantile(paced.gaps, 0.99),
  };
}

async function withCpu<T>(pid: number, run: () => Promise<T>): Promise<readonly [T, number]> {
  const before = await cpuUs(pid);
  const result = await run();
  return [result, (await cpuUs(pid)) - before];
}

function medianRow(rows: readonly Row[]): Row {
  const middle = (pick: (row: Row) => number) => quantile(rows.map(pick), 0.5);
  return {
    name: rows[0]?.name ?? "",
    requestUs: middle((row) => row.requestUs),
    frameUs: middle((row) => row.frameUs),
    requestsPerS: middle((row) => row.requestsPerS),
    p50Ms: middle((row) => row.p50Ms),
    p99Ms: middle((row) => row.p99Ms),
    firstFrameP99Ms: middle((row) => row.firstFrameP99Ms),
    gapP99Ms: middle((row) => row.gapP99Ms),
  };
}

function print(rows: readonly Row[]): void {
  const bare = rows.find((row) => row.name === "bare undici proxy");
  const out = rows.map((row) => ({
    way: row.name,
    "CPU us/request": Math.round(row.requestUs),
    "x bare": bare ? Number((row.requestUs / bare.requestUs).toFixed(2)) : undefined,
    "CPU us/frame": Number(row.frameUs.toFixed(1)),
    "x bare, frame": bare ? Number((row.frameUs / bare.frameUs).toFixed(2)) : undefined,
    "requests/s": Math.round(row.requestsPerS),
    "p50 ms": Number(row.p50Ms.toFixed(2)),
    "p99 ms": Number(row.p99Ms.toFixed(2)),
    "first frame p99 ms": Number(row.firstFrameP99Ms.toFixed(1)),
    "gap p99 ms": Number(row.gapP99Ms.toFixed(1)),
  }));
  console.table(out);
  console.log(JSON.stringify({ bench: "overhead", rows }));
}
