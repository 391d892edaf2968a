import { seededRandom } from "../../fakes/seeded-random.ts";
import { momentOf } from "./aim.ts";
import { problemsOf } from "./checkers.ts";
import { join } from "./join.ts";
import { startKeyWrites } from "./key-writes.ts";
import { makeLimitedKeys } from "./limits.ts";
import { type Load, startLoad } from "./load.ts";
import { type Phase, phaseAt, phases } from "./phases.ts";
import { serviceProblems } from "./service.ts";
import { merged, watchStalls } from "./stalls.ts";
import { type Fault, strikes } from "./strikes.ts";
import type { Counting, Ledger, Limited, Sight, Truth } from "./truth.ts";
import type { World } from "./world.ts";

export interface RoundOptions {
  readonly fault: Fault;
  readonly aim: Phase;
  readonly seed: number;
  /** Of a fault that lasts: how long, in milliseconds. */
  readonly lastsMs?: number;
  /** Where keys with limits are made. */
  readonly limitedProject: string;
}

/** What one fault hit, and what it broke. */
export interface Round {
  readonly sinceMs: number;
  /** When a process that serves requests was killed; empty: none was. */
  readonly deathsMs: readonly number[];
  readonly aim: Phase;
  /** Requests in each phase when the blow fell. */
  readonly hit: Readonly<Record<Phase, number>>;
  readonly sights: readonly Sight[];
  readonly limits: readonly Limited[];
  readonly counting: Counting;
  /** From the kill of their gateway until engines had stopped, in milliseconds, where the protocol lets a caller stop them. */
  readonly stoppedMs: readonly number[];
  /** From the restart until the ledger held everything. */
  readonly settledMs: number;
  /** How long the processes stood still, all in all: what they are to do in time is not asked of them then. */
  readonly stalledMs: number;
  /** Writes of keys that were acknowledged. */
  readonly writes: number;
  readonly problems: readonly string[];
}

/** Traffic is under way in all its kinds, and some limits are reached, when so many requests are over. */
const begunSights = 45;
const warmMs = 20_000;
/** Processes tell the machine's time apart by a millisecond or two: between two rounds lies more. */
const clockSlackMs = 10;
/** Until the ledger holds everything, on a busy machine, with a shipper that waits up to 5 s between tries. */
const settleMs = 60_000;

/** Load, a fault at a moment of the phase, its end, and then all that must hold. The world is whole again afterwards. */
export async function runRound(world: World, options: RoundOptions): Promise<Round> {
  const { fault, aim, seed, lastsMs = 0, limitedProject } = options;
  const kills = fault === "gateway killed";
  const random = seededRandom(seed);
  const sinceMs = Date.now();
  await pause(2 * clockSlackMs);
  const { limits, keys: limited } = await makeLimitedKeys(world.calls, limitedProject, { seed, isShort: kills });
  const keys = [...world.keys, ...limited];
  const stalls = watchStalls(world);
  const load = startLoad({ seed, keys, url: () => world.data.now.url });
  const writes = kills ? undefined : startKeyWrites(world, seed);
  await warm(load, kills ? 0 : keys.length);
  const warmedMs = Date.now();
  await momentOf(aim, world, load, random);
  const struck = await strikes[fault]({ world, load, sinceMs, lastsMs });
  const { moment, backMs } = struck;
  const sights = await load.finished();
  const stalled = await stalls.ended();
  const counting = { ...struck.counting, away: merged([...struck.counting.away, ...stalled]) };
  const problems = [...((await writes?.verify()) ?? [])];
  if (!kills) problems.push(...serviceProblems(sights, warmedMs, new Set(limited.map(({ keyId }) => keyId))));
  const deathsMs = kills ? [moment.atMs] : [];
  const truth = await settled(world, { sinceMs, sights, deathsMs, limits, counting });
  problems.push(...problemsOf(truth));
  const { requests } = join(truth);
  const hit = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>;
  for (const request of requests) {
    const phase = phaseAt(request, moment);
    if (phase) hit[phase] += 1;
  }
  return {
    sinceMs,
    deathsMs,
    aim,
    hit,
    sights,
    limits,
    counting,
    stoppedMs: kills ? stoppedMs(truth, moment.atMs) : [],
    settledMs: Date.now() - backMs,
    stalledMs: merged(stalled).reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0),
    writes: writes?.acknowledged ?? 0,
    problems,
  };
}

/** Waits until the process that serves knows so many keys: what then breaks elsewhere must not be noticed. */
async function warm(load: Load, keys: number): Promise<void> {
  const endMs = performance.now() + warmMs;
  const known = () => new Set(load.sights.filter(({ status }) => status !== undefined).map(({ keyId }) => keyId)).size;
  while ((load.sights.length < begunSights || known() < keys) && performance.now() < endMs)
    await new Promise((resolve) => setTimeout(resolve, 5));
}

/** What the campaign itself knows of a stretch of time. */
export type Known = Pick<Truth, "sights" | "deathsMs" | "limits" | "counting"> & { readonly sinceMs: number };

/** The truth when nothing is missing any more, or when patience is at its end. */
async function settled(world: World, known: Known): Promise<Truth> {
  const endMs = performance.now() + settleMs;
  for (;;) {
    const truth = await truthSince(world, known);
    if (problemsOf(truth).length === 0 || performance.now() > endMs) return truth;
    await pause(100);
  }
}

/** All that is known of the time since then. */
export async function truthSince(
  world: Pick<World, "ledger" | "traces">,
  { sinceMs, ...known }: Known,
): Promise<Truth> {
  // Engines first: what they begin after this the ledger may know, and that is no loss.
  const traces = world.traces().filter(({ at }) => (at.get("received") ?? 0) >= sinceMs - clockSlackMs);
  const ledger: Ledger = await world.ledger.dump(sinceMs);
  return { ...known, traces, ledger, standings: new Map(), standingMs: 0 };
}

/** What of an engine's protocol has no way to be stopped by a lost connection is left out: the ensemble's. */
function stoppedMs({ traces }: Truth, killedMs: number): readonly number[] {
  return traces.flatMap(({ at, model }) => {
    const cancelledMs = at.get("cancelled");
    return model === "ensemble" || cancelledMs === undefined || cancelledMs < killedMs ? [] : [cancelledMs - killedMs];
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
