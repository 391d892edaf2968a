import type { Counting } from "./truth.ts";
import type { World } from "./world.ts";

/** Looks whether the processes of a world get to run at all: on a machine that is busy with everything else they may not. */
export interface StallWatch {
  /** When one of them did not, or was not there. Ends the looking. */
  ended(): Promise<Counting["away"]>;
}

const lookMs = 100;
/** A call for a limit is given up after a second, of which it may wait 0.5 s for others by itself. */
const slowMs = 300;
/** What was begun while it stood still fails a second later, and the next second is as good as none. */
const aftermathMs = 2_000;
/** The longest that one look takes. */
const patienceMs = 10_000;

/** Asks each process, ten times a second, whether it is alive. That takes it no time, and nothing of what it depends on. */
export function watchStalls({ control, data }: World): StallWatch {
  const spells: { fromMs: number; toMs: number }[] = [];
  const stop = new AbortController();
  const watch = async (adminUrl: () => string): Promise<void> => {
    while (!stop.signal.aborted) {
      const fromMs = Date.now();
      const answered = await isAlive(adminUrl(), stop.signal);
      const nowMs = Date.now();
      if (stop.signal.aborted) return;
      if (!answered || nowMs - fromMs > slowMs) spells.push({ fromMs, toMs: nowMs + aftermathMs });
      await new Promise((resolve) => setTimeout(resolve, lookMs));
    }
  };
  const lives = control === data ? [data] : [control, data];
  const watches = lives.map((life) => watch(() => life.now.adminUrl));
  return {
    async ended() {
      stop.abort();
      await Promise.all(watches);
      return spells;
    },
  };
}

async function isAlive(adminUrl: string, stopped: AbortSignal): Promise<boolean> {
  try {
    const signal = AbortSignal.any([stopped, AbortSignal.timeout(patienceMs)]);
    const response = await fetch(`${adminUrl}/livez`, { signal });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** Spells that touch are one. */
export function merged(spells: Counting["away"]): Counting["away"] {
  const all: { fromMs: number; toMs: number }[] = [];
  for (const { fromMs, toMs } of spells.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const last = all.at(-1);
    if (last && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
    else all.push({ fromMs, toMs });
  }
  return all;
}
