import { cpuOf, withPeakRss } from "./cpu.ts";
import type { CountInstructions } from "./instructions.ts";
import { load, type LoadResult, type LoadSize } from "./load.ts";
import { completionTokens, promptTokens } from "./mock-answer.ts";
import type { Sample } from "./metrics.ts";
import { quantile } from "./statistics.ts";
import { briskPace, restfulPace, timedPace, type Way } from "./ways.ts";

/** How long and how much is measured each time. */
export interface Extent {
  readonly windowMs: number;
  /** Of each manner of beginning them. */
  readonly streams: number;
}

const concurrency = 32;
/** What Weir does with half a core. */
const evenPerS = 4_000;
/** Streams begun in a second, one after the other: of 64 frames at 5 ms as many are open at a time as there are connections. */
const streamsPerS = 90;
/** A request to Weir costs twice as much in the first 10,000 as it does after 25,000. */
const warmingRequests = 30_000;
/** So does a stream, whose code is another. */
const warmingStreams = 10_000;
/** Enough that a stream's memory stands out, and few enough that every way keeps up. */
const streamsForMemory = 256;

/** Measures one way once. */
export type Measure = (way: Way, extent: Extent, count: CountInstructions | undefined) => Promise<Sample>;

/** Requests answered in one piece, as fast as 32 connections bring them. */
export const busy: Measure = async (way, { windowMs }, count) => {
  const callsBefore = await way.books?.calls();
  const { result, cost } = await charged(way, { pid: way.plain.pid, framesEach: 0 }, count, () =>
    load(way.plain.target, concurrency, { forMs: windowMs }),
  );
  const callsAfter = await way.books?.calls();
  const each = 1 / result.requests;
  return {
    requestUs: cost.ranUs * each,
    instructionsPerRequest: cost.instructions && cost.instructions * each,
    waitedPercent: (cost.waitedUs / cost.elapsedUs) * 100,
    loadUsPerRequest: cost.loadUs * each,
    postgresUsPerRecord: cost.postgresUs && cost.postgresUs * each,
    callsPerRequest: callsBefore && callsAfter && (total(callsAfter) - total(callsBefore)) * each,
    requestsPerS: (result.requests / result.elapsedMs) * 1_000,
    busyP50Ms: quantile(result.latencies, 0.5),
    busyP99Ms: quantile(result.latencies, 0.99),
  };
};

/**
 * Requests answered in one piece, as many in a second for every way: a write to a process that sleeps costs several times
 * one to a process that is awake, and at full speed the fastest way finds its peers awake.
 */
export const even: Measure = async (way, { windowMs }, count) => {
  const { result, cost } = await charged(way, { pid: way.plain.pid, framesEach: 0 }, count, () =>
    load(way.plain.target, concurrency, { forMs: windowMs, perS: evenPerS }),
  );
  return {
    evenRequestUs: cost.ranUs / result.requests,
    evenP50Ms: quantile(result.latencies, 0.5),
    evenP99Ms: quantile(result.latencies, 0.99),
  };
};

/** The compiler is done with the code. */
export const warm: Measure = async (way) => {
  await checked(way, 0, load(way.plain.target, concurrency, { requests: warmingRequests }));
  const brisk = way.paced(briskPace).target;
  await checked(way, briskPace.frames, load(brisk, concurrency, { requests: warmingStreams }));
  return {};
};

/** One request after the other. */
export const alone: Measure = async (way, { windowMs }) => {
  const result = await checked(way, 0, load(way.plain.target, 1, { forMs: windowMs / 3 }));
  return { aloneP50Ms: quantile(result.latencies, 0.5), aloneP99Ms: quantile(result.latencies, 0.99) };
};

/** Streams that begin one after the other, 32 open at a time. */
export const paced: Measure = async (way, { streams }, count) => {
  const { result, frame } = await streamed(way, { requests: streams, perS: streamsPerS }, count);
  return {
    frameUs: frame(({ ranUs }) => ranUs),
    postgresUsPerFrame: frame(({ postgresUs }) => postgresUs),
    instructionsPerFrame: frame(({ instructions }) => instructions),
    loadUsPerFrame: frame(({ loadUs }) => loadUs),
    firstFrameP50Ms: quantile(result.firstFrames, 0.5),
    firstFrameP99Ms: quantile(result.firstFrames, 0.99),
    gapP50Ms: quantile(result.gaps, 0.5),
    gapP99Ms: quantile(result.gaps, 0.99),
  };
};

/** Streams that begin 32 at the same moment, over new connections, and keep in step. */
export const inStep: Measure = async (way, { streams }, count) => {
  const { result, frame } = await streamed(way, { requests: streams }, count);
  return {
    stepFrameUs: frame(({ ranUs }) => ranUs),
    stepFirstFrameP50Ms: quantile(result.firstFrames, 0.5),
    stepFirstFrameP99Ms: quantile(result.firstFrames, 0.99),
    stepGapP99Ms: quantile(result.gaps, 0.99),
  };
};

async function streamed(way: Way, size: LoadSize, count: CountInstructions | undefined) {
  const { pid, target } = way.paced(timedPace);
  const { result, cost } = await charged(way, { pid, framesEach: timedPace.frames }, count, () =>
    load(target, concurrency, size),
  );
  const frame = (part: (cost: Cost) => number | undefined) => {
    const whole = part(cost);
    return whole === undefined ? undefined : whole / result.frames;
  };
  return { result, frame };
}

/** Streams that are all open at once. */
export const memory: Measure = async (way) => {
  const { pid, target } = way.paced(restfulPace);
  const [, bytes] = await withPeakRss(pid, () =>
    checked(way, restfulPace.frames, load(target, streamsForMemory, { requests: streamsForMemory })),
  );
  return { kibPerStream: bytes / streamsForMemory / 1_024 };
};

interface Cost {
  readonly ranUs: number;
  readonly waitedUs: number;
  readonly elapsedUs: number;
  readonly loadUs: number;
  readonly postgresUs: number | undefined;
  readonly instructions: number | undefined;
}

/** Runs a load and tells what it cost, until nothing is left to be done for it. */
async function charged(
  way: Way,
  { pid, framesEach }: { readonly pid: number; readonly framesEach: number },
  count: CountInstructions | undefined,
  run: () => Promise<LoadResult>,
): Promise<{ readonly result: LoadResult; readonly cost: Cost }> {
  const counted = count?.(pid);
  const [before, own, postgresUs] = [cpuOf(pid), cpuOf(process.pid).ranUs, way.books?.postgresUs()];
  const running = run();
  const loadUs = running.then(() => cpuOf(process.pid).ranUs - own);
  const result = await checked(way, framesEach, running);
  const after = cpuOf(pid);
  return {
    result,
    cost: {
      ranUs: after.ranUs - before.ranUs,
      waitedUs: after.waitedUs - before.waitedUs,
      elapsedUs: result.elapsedMs * 1_000,
      loadUs: await loadUs,
      postgresUs: postgresUs === undefined ? undefined : (way.books?.postgresUs() ?? 0) - postgresUs,
      instructions: await counted?.(),
    },
  };
}

/** A load of which nothing failed and no frame was lost, once the way's books hold all of it. */
async function checked(way: Way, framesEach: number, running: Promise<LoadResult>): Promise<LoadResult> {
  const result = await running;
  const { requests, failed, frames } = result;
  if (failed > 0) throw new Error(`${way.name}: ${failed} of ${requests} requests failed`);
  if (frames !== requests * framesEach) throw new Error(`${way.name}: ${frames} frames of ${requests} streams`);
  way.books?.owe({
    requests,
    promptTokens: requests * promptTokens,
    completionTokens: requests * (framesEach || completionTokens),
  });
  await way.books?.settled();
  return result;
}

function total(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}
