import { cpus } from "node:os";
import { cpuOfOthersUs } from "./cpu.ts";
import { instructionCounter } from "./instructions.ts";
import { alone, busy, even, type Extent, inStep, type Measure, memory, paced, warm } from "./measures.ts";
import type { Sample } from "./metrics.ts";
import type { Way, WayName } from "./ways.ts";

/** Every way, measured once. */
export interface Round {
  readonly samples: ReadonlyMap<WayName, Sample>;
  /** What everybody else on the machine had of its cores meanwhile, in percent. */
  readonly othersPercent: number;
}

/** Before heaps have grown: what a stream takes of memory. Afterwards code and connections are warm. */
export async function warmUp(ways: readonly Way[], extent: Extent): Promise<ReadonlyMap<WayName, Sample>> {
  const samples = new Map<WayName, Sample>();
  for (const way of ways) {
    await paced(way, extent, undefined);
    if (way.name !== "mock alone") samples.set(way.name, await memory(way, extent, undefined));
    await warm(way, extent, undefined);
  }
  return samples;
}

/** Measures every way in turn, `count` times. */
export async function measureRounds(ways: readonly Way[], count: number, extent: Extent): Promise<readonly Round[]> {
  const instructions = await instructionCounter();
  const rounds: Round[] = [];
  while (rounds.length < count) {
    const samples = new Map<WayName, Sample>();
    const [beganMs, othersUs] = [performance.now(), cpuOfOthersUs(process.pid)];
    for (const measure of [even, busy, alone, paced, inStep] satisfies Measure[]) {
      for (const way of inTurn(ways, rounds.length))
        samples.set(way.name, { ...samples.get(way.name), ...(await measure(way, extent, instructions)) });
    }
    // Not availableParallelism: this process is pinned to one of them.
    const machineUs = (performance.now() - beganMs) * 1_000 * cpus().length;
    rounds.push({ samples, othersPercent: ((cpuOfOthersUs(process.pid) - othersUs) / machineUs) * 100 });
  }
  return rounds;
}

/** Another one begins each round, so that nobody always comes after the same. */
function inTurn(ways: readonly Way[], round: number): readonly Way[] {
  const first = round % ways.length;
  return [...ways.slice(first), ...ways.slice(0, first)];
}

/** The half in which others used the machine least. They are chosen without a look at what was measured. */
export function calmestOf(rounds: readonly Round[]): readonly Round[] {
  return rounds.toSorted((a, b) => a.othersPercent - b.othersPercent).slice(0, Math.ceil(rounds.length / 2));
}
