/** Every figure that is taken of a way, with how it is called in the table and how many digits behind the point it has. */
export const metrics = {
  evenRequestUs: ["CPU us a request, 4,000/s", 1],
  requestUs: ["CPU us a request, at full speed", 1],
  postgresUsPerRecord: ["PostgreSQL's CPU us a record", 1],
  instructionsPerRequest: ["instructions a request", 0],
  callsPerRequest: ["control-plane calls a request", 4],
  requestsPerS: ["requests/s, at full speed", 0],
  evenP50Ms: ["p50 ms, 4,000/s", 2],
  evenP99Ms: ["p99 ms, 4,000/s", 2],
  busyP50Ms: ["p50 ms, at full speed", 2],
  busyP99Ms: ["p99 ms, at full speed", 2],
  aloneP50Ms: ["p50 ms, 1 connection", 2],
  aloneP99Ms: ["p99 ms, 1 connection", 2],
  frameUs: ["CPU us a frame", 1],
  postgresUsPerFrame: ["PostgreSQL's CPU us a frame", 1],
  instructionsPerFrame: ["instructions a frame", 0],
  firstFrameP50Ms: ["first token p50 ms", 2],
  firstFrameP99Ms: ["first token p99 ms", 2],
  gapP50Ms: ["gap p50 ms", 2],
  gapP99Ms: ["gap p99 ms", 2],
  stepFrameUs: ["CPU us a frame, 32 in step", 1],
  stepFirstFrameP50Ms: ["first token p50 ms, 32 at once", 2],
  stepFirstFrameP99Ms: ["first token p99 ms, 32 at once", 2],
  stepGapP99Ms: ["gap p99 ms, 32 in step", 2],
  kibPerStream: ["RSS a stream, KiB", 0],
  waitedPercent: ["waited for its core, %", 1],
  loadUsPerRequest: ["the load's own CPU us a request", 1],
  loadUsPerFrame: ["the load's own CPU us a frame", 1],
} as const satisfies Readonly<Record<string, readonly [label: string, digits: number]>>;

export type Metric = keyof typeof metrics;

/** What one measurement gave. */
export type Sample = { readonly [metric in Metric]?: number | undefined };
