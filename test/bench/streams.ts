import { load, quantile } from "./load.ts";
import { cpuUs, rssBytes, startScript, startWeir } from "./processes.ts";

const streams = 512;
const framesPerStream = 64;
const paceMs = 50;

/** 512 streams of 64 frames at 50 ms through one process on one core: lost frames, memory a stream, gaps. */
export async function streamsAtOnce(): Promise<{
  readonly lost: number;
  readonly kibPerStream: number;
  readonly failed: number;
}> {
  await using mock = await startScript("mock-engine.ts", "others");
  await using weir = await startWeir(mock.url, "measured");
  await load({ url: weir.url, key: weir.key, model: "mock-64-5", stream: true }, 64, 128);
  const restBytes = await rssBytes(weir.pid);
  const beforeUs = await cpuUs(weir.pid);
  let peakBytes = restBytes;
  const sampling = setInterval(
    () => void rssBytes(weir.pid).then((bytes) => (peakBytes = Math.max(peakBytes, bytes))),
    100,
  );
  const result = await load(
    { url: weir.url, key: weir.key, model: `mock-${framesPerStream}-${paceMs}`, stream: true },
    streams,
    streams,
  );
  clearInterval(sampling);
  const usedUs = (await cpuUs(weir.pid)) - beforeUs;
  const summary = {
    bench: "streams",
    streams,
    failed: result.failed,
    lost: streams * framesPerStream - result.frames,
    kibPerStream: Math.round((peakBytes - restBytes) / streams / 1_024),
    cpuUsPerFrame: Number((usedUs / result.frames).toFixed(1)),
    elapsedMs: Math.round(result.elapsedMs),
    gapP50Ms: Number(quantile(result.gaps, 0.5).toFixed(1)),
    gapP99Ms: Number(quantile(result.gaps, 0.99).toFixed(1)),
  };
  console.table([summary]);
  console.log(JSON.stringify(summary));
  return summary;
}
