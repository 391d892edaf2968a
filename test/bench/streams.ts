import { cpuOf, withPeakRss } from "./cpu.ts";
import { bearer, load } from "./load.ts";
import { pacedModel } from "./mock-answer.ts";
import { startScript } from "./processes.ts";
import { quantile } from "./statistics.ts";
import { startWeir } from "./weir.ts";

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
  await using weir = await startWeir({ engineUrl: mock.url }, "measured");
  const target = { url: weir.url, headers: bearer(weir.key), stream: true };
  await load({ ...target, model: pacedModel(64, 5) }, 64, { requests: 128 });
  const before = cpuOf(weir.pid);
  const [result, grownBytes] = await withPeakRss(weir.pid, () =>
    load({ ...target, model: pacedModel(framesPerStream, paceMs) }, streams, { requests: streams }),
  );
  const usedUs = cpuOf(weir.pid).ranUs - before.ranUs;
  const summary = {
    bench: "streams",
    streams,
    failed: result.failed,
    lost: streams * framesPerStream - result.frames,
    kibPerStream: Math.round(grownBytes / streams / 1_024),
    cpuUsPerFrame: Number((usedUs / result.frames).toFixed(1)),
    elapsedMs: Math.round(result.elapsedMs),
    gapP50Ms: Number(quantile(result.gaps, 0.5).toFixed(1)),
    gapP99Ms: Number(quantile(result.gaps, 0.99).toFixed(1)),
  };
  console.table([summary]);
  console.log(JSON.stringify(summary));
  return summary;
}
