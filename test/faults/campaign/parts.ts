import type { Fault } from "./strikes.ts";
import type { Shape } from "./world.ts";

/** A fault in a world of one shape, so many times. */
export interface Part {
  readonly fault: Fault;
  readonly shape: Shape;
  readonly times: number;
  /** How long it lasts each time, in milliseconds. */
  readonly lastsMs: number;
}

/** Shorter than what a stopped process or a broken network is given up after. */
const stoppedMs = 8_000;

interface Named {
  /** Of the whole campaign, in all shapes that know it, unless said otherwise. */
  readonly times: number;
  readonly faults: readonly (readonly [Fault, Shape])[];
  readonly lastsMs?: number;
}

/** What may be asked for by name. Times are spread evenly over the faults of a name. */
const named: Readonly<Record<string, Named>> = {
  gateway: {
    times: 200,
    faults: [
      ["gateway killed", "one"],
      ["gateway killed", "two"],
    ],
  },
  control: { times: 50, faults: [["control killed", "two"]] },
  postgres: {
    times: 50,
    faults: [
      ["postgres killed", "one"],
      ["postgres killed", "two"],
    ],
  },
  stopped: { times: 1, faults: [["control stopped", "two"]], lastsMs: stoppedMs },
  cut: { times: 1, faults: [["mesh cut", "two"]], lastsMs: stoppedMs },
  silent: { times: 1, faults: [["mesh silent", "two"]], lastsMs: stoppedMs },
  away: { times: 1, faults: [["postgres cut", "one"]] },
  "away-silent": { times: 1, faults: [["postgres silent", "two"]] },
};

const partNames = Object.keys(named);

/**
 * The parts that are asked for, by the shapes of their worlds.
 *
 * @param asked `name` or `name=times`; none: all.
 * @param awayMs how long PostgreSQL is away.
 * @throws RangeError for what is no name or no number.
 */
export function partsFor(asked: readonly string[], awayMs: number): readonly Part[] {
  const parts = (asked.length > 0 ? asked : partNames).flatMap((one): Part[] => {
    const [name = "", number] = one.split("=");
    const known = named[name];
    const times = number === undefined ? known?.times : Number(number);
    if (known === undefined || times === undefined || !Number.isInteger(times) || times < 0)
      throw new RangeError(`no part "${one}"; there are ${partNames.join(", ")}, each as NAME or NAME=TIMES`);
    const { faults, lastsMs = awayMs } = known;
    return faults.map(([fault, shape], at) => ({
      fault,
      shape,
      times: Math.floor((times + faults.length - 1 - at) / faults.length),
      lastsMs: fault.endsWith("killed") ? 0 : lastsMs,
    }));
  });
  return parts.filter(({ times }) => times > 0).toSorted((a, b) => a.shape.localeCompare(b.shape));
}
