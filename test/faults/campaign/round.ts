import { seededRandom } from "../../fakes/seeded-random.ts";
import { momentOf } from "./aim.ts";
import { problemsOf } from "./checkers.ts";
import { join } from "./join.ts";
import { startKeyWrites } from "./key-writes.ts";
import { type Load, startLoad } from "./load.ts";
import { type Moment, type Phase, phaseAt, phases } from "./phases.ts";
import { serviceProblems } from "./service.ts";
import type { Ledger, Sight, Truth } from "./truth.ts";
import type { World } from "./world.ts";

/** What is killed: the process that serves requests, the control plane, or PostgreSQL. */
export type Victim = "gateway" | "control" | "postgres";

export interface RoundOptions {
  readonly victim: Victim;
  readonly aim: Phase;
  readonly seed: number;
}

/** What one kill hit, and what it broke. */
export interface Round {
  readonly sinceMs: number;
  readonly killedMs: number;
  readonly aim: Phase;
  /** Requests in each phase when the blow fell. */
  readonly hit: Readonly<Record<Phase, number>>;
  readonly sights: readonly Sight[];
  /** From the kill of their gateway until engines had stopped, in milliseconds, where the protocol lets a caller stop them. */
  readonly stoppedMs: readonly number[];
  /** From the restart until the ledger held everything. */
  readonly settledMs: number;
  /** Writes of keys that were acknowledged. */
  readonly writes: number;
  readonly problems: readonly string[];
}

/** Traffic is under way in all its kinds when so many requests are over. */
const begunSights = 15;
const warmMs = 20_000;
/** Traffic goes on for so long after the victim is back. */
const afterMs = 600;
/** Until the ledger holds everything, on a busy machine, with a shipper that waits up to 5 s between tries. */
const settleMs = 60_000;

/** Load, a kill at a moment of the phase, a restart, and then all that must hold. The world is whole again afterwards. */
export async function runRound(world: World, options: RoundOptions): Promise<Round> {
  const { victim, aim, seed } = options;
  const random = seededRandom(seed);
  const sinceMs = Date.now();
  const load = startLoad({ seed, keys: world.keys, url: () => world.data.now.url });
  const writes = victim === "gateway" ? undefined : startKeyWrites(world, seed);
  await warm(load, victim === "gateway" ? 0 : world.keys.length);
  const warmedMs = Date.now();
  await momentOf(aim, world, load, random);
  const { moment, backMs } = await strike(world, victim, load, sinceMs);
  const sights = await load.finished();
  const problems = [...((await writes?.verify()) ?? [])];
  if (victim !== "gateway" && world.data !== world.control) problems.push(...serviceProblems(sights, warmedMs));
  const died = victim === "postgres" || world.data !== world[victim === "gateway" ? "data" : "control"] ? [] : [moment.atMs];
  const truth = await settled(world, sinceMs, sights, victim === "gateway" ? [moment.atMs] : died);
  problems.push(...problemsOf(truth));
  const { requests } = join(truth);
  const hit = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>;
  for (const request of requests) {
    const phase = phaseAt(request, moment);
    if (phase) hit[phase] += 1;
  }
  return {
    sinceMs,
    killedMs: moment.atMs,
    aim,
    hit,
    sights,
    stoppedMs: victim === "gateway" ? stoppedMs(truth, moment.atMs) : [],
    settledMs: Date.now() - backMs,
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

/** Kills, notes what PostgreSQL had then, and makes the world whole. */
async function strike(world: World, victim: Victim, load: Load, sinceMs: number): Promise<{ moment: Moment; backMs: number }> {
  if (victim === "gateway") {
    load.halt();
    const atMs = await world.data.kill();
    const finals = await world.ledger.finals(sinceMs);
    await world.data.start();
    return { moment: { atMs, finals }, backMs: Date.now() };
  }
  if (victim === "control") {
    const atMs = await world.control.kill();
    const finals = await world.ledger.finals(sinceMs);
    await world.control.start();
    await pause(afterMs);
    return { moment: { atMs, finals }, backMs: Date.now() };
  }
  // Nobody can ask a PostgreSQL that is gone: what it had a moment before counts.
  const finals = await world.ledger.finals(sinceMs);
  const atMs = Date.now();
  world.postgres.kill();
  await world.postgres.ready();
  await pause(afterMs);
  return { moment: { atMs, finals }, backMs: Date.now() };
}

/** The truth when nothing is missing any more, or when patience is at its end. */
async function settled(world: World, sinceMs: number, sights: readonly Sight[], deathsMs: readonly number[]): Promise<Truth> {
  const endMs = performance.now() + settleMs;
  for (;;) {
    const truth = await truthSince(world, sinceMs, sights, deathsMs);
    if (problemsOf(truth).length === 0 || performance.now() > endMs) return truth;
    await pause(100);
  }
}

/** All that is known of the time since then. */
export async function truthSince(
  world: Pick<World, "ledger" | "traces">,
  sinceMs: number,
  sights: readonly Sight[],
  deathsMs: readonly number[],
): Promise<Truth> {
  // Engines first: what they begin after this the ledger may know, and that is no loss.
  const traces = world.traces().filter(({ at }) => (at.get("received") ?? 0) >= sinceMs);
  const ledger: Ledger = await world.ledger.dump(sinceMs);
  return { sights, traces, ledger, deathsMs };
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
