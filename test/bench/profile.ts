import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { busy, paced } from "./measures.ts";
import { root } from "./processes.ts";
import { startWays } from "./ways.ts";

const warming = { windowMs: 4_000, streams: 64 };
const extent = { windowMs: 6_000, streams: 512 };
const entriesShown = 25;

/** V8's own format, as `node --cpu-prof` writes it; times in microseconds of the machine's monotonic clock. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Where Weir's time goes, by file and by function: in its own code, in its libraries and in Node. */
export async function profile(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "weir-profile-"));
  let warmUs = 0;
  try {
    {
      await using resources = new AsyncDisposableStack();
      const nodeArgs = ["--cpu-prof", `--cpu-prof-dir=${folder}`];
      const { ways } = await startWays(resources, { portkey: false, nodeArgs });
      const weir = ways.find(({ name }) => name === "Weir");
      if (weir === undefined) throw new Error("Weir did not start");
      await paced(weir, warming, undefined);
      await busy(weir, warming, undefined);
      warmUs = Number(process.hrtime.bigint() / 1_000n);
      await busy(weir, extent, undefined);
      await paced(weir, extent, undefined);
    }
    for (const file of await readdir(folder)) print(JSON.parse(await readFile(join(folder, file), "utf8")), warmUs);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function print({ nodes, startTime, samples, timeDeltas }: CpuProfile, fromUs: number): void {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const [byFunction, byFile] = [new Map<string, number>(), new Map<string, number>()];
  const add = (sums: Map<string, number>, name: string, us: number) => sums.set(name, (sums.get(name) ?? 0) + us);
  let nowUs = startTime;
  for (const [at, id] of samples.entries()) {
    nowUs += timeDeltas[at] ?? 0;
    if (nowUs < fromUs) continue;
    const { functionName, url, lineNumber } = frames.get(id) ?? { functionName: "", url: "", lineNumber: 0 };
    if (functionName === "(idle)") continue;
    const file = placeOf(url);
    add(byFile, file || functionName || "(native)", timeDeltas[at] ?? 0);
    add(byFunction, `${functionName || "(anonymous)"} ${file && `${file}:${lineNumber + 1}`}`, timeDeltas[at] ?? 0);
  }
  const rows = [top(byFile), top(byFunction)];
  for (const entries of rows)
    console.log(`${entries.map(([name, part]) => `${part.toFixed(1).padStart(5)}%  ${name}`).join("\n")}\n`);
  console.log(JSON.stringify({ bench: "profile", percent: rows.map((entries) => Object.fromEntries(entries)) }));
}

function placeOf(url: string): string {
  return url.startsWith("file:") ? relative(root, fileURLToPath(url)) : url;
}

/** In percent of all but idleness. */
function top(sums: ReadonlyMap<string, number>): readonly (readonly [name: string, percent: number])[] {
  const all = [...sums.values()].reduce((sum, us) => sum + us, 0);
  const sorted = [...sums].sort(([, a], [, b]) => b - a).slice(0, entriesShown);
  return sorted.map(([name, us]) => [name, Number(((us / all) * 100).toFixed(2))]);
}
