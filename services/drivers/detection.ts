import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Timer } from "../runtime/clock.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { DriverKind, Sighting, Target } from "./driver.ts";

/**
 * How much later than the first who knows itself the others may answer: they are asked at once, at one place. Some servers
 * say nothing at all to bytes that they do not know.
 */
const patienceMs = 1_000;

/** In the order of the kinds. */
type Sightings = ReadonlyMap<DriverKind, Sighting>;

/**
 * Finds out which kind of engine a server is, by asking in all dialects that can be at its address at once.
 *
 * - A "yes" counts before any "guarded": a proxy that lets only some paths through guards all others.
 * - The first kind counts, in the order in which they are given. One that was silent or away may be the right one and come
 *   before what answered: it is asked once more, and only then that is taken for a "no".
 * - Where there is neither, one "away" counts before any "no": a proxy that says to all of HTTP that its engine is not there
 *   says nothing to gRPC that could be understood.
 *
 * Rejects with ENGINE_UNAVAILABLE if nothing answers there, or only that it cannot now, or not in the time that the signal
 * leaves; with ENGINE_PROTOCOL if what answers is none of them.
 */
export async function detectKind(
  kinds: readonly DriverKind[],
  target: Target,
  signal: AbortSignal,
): Promise<DriverKind> {
  const asked = kinds.filter((kind) => kind.canBeAt(target.url));
  const first = await sight(asked, { target, signal, answered: false });
  const doubtful = doubtfulIn(first);
  const second = doubtful.length > 0 ? await sight(doubtful, { target, signal, answered: true }) : [];
  const sightings = new Map([...first, ...second]);
  // What was not answered in time is no silence.
  if (signal.aborted && doubtfulIn(sightings).length > 0)
    throw fail(ErrorReason.ENGINE_UNAVAILABLE, {}, { cause: signal.reason });
  const found = firstOf("yes", sightings) ?? firstOf("guarded", sightings);
  if (found) return found;
  const said = [...sightings.values()];
  if (said.includes("away") || said.every((sighting) => sighting === "silent"))
    throw fail(ErrorReason.ENGINE_UNAVAILABLE);
  throw fail(ErrorReason.ENGINE_PROTOCOL, { problem: "it speaks neither an engine's gRPC nor an engine's HTTP" });
}

/** What a server may say or not say for a moment only. */
const passing: ReadonlySet<Sighting | undefined> = new Set<Sighting>(["silent", "away"]);

/** Those whose silence or absence hides what the server is. */
function doubtfulIn(sightings: Sightings): readonly DriverKind[] {
  const order = [...sightings.keys()];
  const yes = firstOf("yes", sightings);
  if (!yes && !firstOf("guarded", sightings)) return [];
  const before = yes ? order.slice(0, order.indexOf(yes)) : order;
  return before.filter((kind) => passing.has(sightings.get(kind)));
}

function firstOf(wanted: Sighting, sightings: Sightings): DriverKind | undefined {
  for (const [kind, sighting] of sightings) if (sighting === wanted) return kind;
  return undefined;
}

interface Round {
  readonly target: Target;
  readonly signal: AbortSignal;
  /** The server has answered before: it is there. */
  readonly answered: boolean;
}

/** Asks all of them at once, and does not wait for ever for the last. */
async function sight(kinds: readonly DriverKind[], { target, signal, answered }: Round): Promise<Sightings> {
  const enough = new AbortController();
  const limited = AbortSignal.any([signal, enough.signal]);
  let timer: Timer | undefined;
  const hurry = (): void => {
    timer ??= target.clock.setTimer(patienceMs, () => enough.abort());
  };
  if (answered) hurry();
  const asked = kinds.map(async (kind) => {
    const sighting = await kind.detect(target, limited);
    if (sighting === "yes" || sighting === "guarded") hurry();
    return [kind, sighting] as const;
  });
  try {
    return new Map(await Promise.all(asked));
  } finally {
    timer?.cancel();
  }
}
