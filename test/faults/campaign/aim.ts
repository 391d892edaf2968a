import type { SeededRandom } from "../../fakes/seeded-random.ts";
import type { Load } from "./load.ts";
import type { Phase } from "./phases.ts";
import type { World } from "./world.ts";

/** Of the pool `narrow`. */
const places = 2;
/** Whoever has waited so long for an answer, beside as many as there are places, stands in the queue. */
const queuedAfterMs = 60;
/** Long enough for any phase to come up under load. */
const patienceMs = 15_000;

/**
 * Waits for a moment at which some request is in a phase, as far as clients and engines tell, and a while more that chance
 * chooses, so that not always the phase's first moment is met. Whether one was in it when the blow fell is found out
 * afterwards, from ground truth.
 *
 * @returns false: there was no such moment in time.
 */
export async function momentOf(phase: Phase, world: World, load: Load, random: SeededRandom): Promise<boolean> {
  const endMs = performance.now() + patienceMs;
  const isNow = sensor(phase, world, load);
  while (!isNow()) {
    if (performance.now() > endMs) return false;
    // Whoever looks all the time takes the processor from those who are looked at.
    await new Promise<void>((resolve) => void (phase === "settling" ? setImmediate(resolve) : setTimeout(resolve, 2)));
  }
  await linger(phase, random);
  return true;
}

function sensor(phase: Phase, world: World, load: Load): () => boolean {
  const finishedBefore = world.finished();
  const sightsBefore = load.sights.length;
  switch (phase) {
    case "queued":
      return () => load.underWay("narrow").filter((ms) => ms > queuedAfterMs).length > places;
    case "prefill":
      return () => world.open().some(({ at }) => at.has("started") && !at.has("produced"));
    case "streaming":
      return () => world.open().some(({ at }) => at.has("produced"));
    // What comes next is a matter of microseconds.
    case "settling":
      return () => world.finished() > finishedBefore;
    case "shipping":
      return () => load.sights.slice(sightsBefore).some(({ end }) => end === "whole");
  }
}

/** How long each phase lasts at least, in milliseconds; chance chooses within it. */
const lingerMs: Readonly<Record<Phase, number>> = { queued: 20, prefill: 8, streaming: 20, settling: 0, shipping: 150 };

async function linger(phase: Phase, random: SeededRandom): Promise<void> {
  const ms = random.below(lingerMs[phase] + 1);
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
