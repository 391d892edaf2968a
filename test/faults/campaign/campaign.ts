import { problemsOf } from "./checkers.ts";
import { makeLimitedProject, standingsOf } from "./limits.ts";
import { type Phase, phases } from "./phases.ts";
import { type Known, type Round, runRound, truthSince } from "./round.ts";
import type { Fault } from "./strikes.ts";
import type { Limited, Truth } from "./truth.ts";
import type { World } from "./world.ts";

/** A fault many times over. */
export interface CampaignOptions {
  readonly fault: Fault;
  readonly times: number;
  readonly seed: number;
  /** How long the fault lasts, if it is one that does, in milliseconds. */
  readonly lastsMs?: number;
  /** Whether limits are asked in the end how they stand: that waits until all leases are over, 5 s or more. */
  readonly standings: boolean;
  /** No more begins once this is true. */
  readonly over: () => boolean;
  /** Told after each. */
  readonly told?: (round: Round, at: number) => void;
}

/** What a fault came to. */
export interface CampaignResult {
  readonly fault: Fault;
  readonly rounds: readonly Round[];
  /** Of the whole time at once, after the last one: what came late or twice shows here. */
  readonly problems: readonly string[];
}

/** A fault after another, aimed at each phase in turn. */
export async function runCampaign(world: World, options: CampaignOptions): Promise<CampaignResult> {
  const { fault, times, seed, standings, over, told, lastsMs = 0 } = options;
  const sinceMs = Date.now();
  const limitedProject = `limited-${sinceMs}`;
  const projectLimit = await makeLimitedProject(world.calls, limitedProject);
  const rounds: Round[] = [];
  for (let at = 0; at < times && !over(); at++) {
    const round = await runRound(world, {
      fault,
      aim: aimOf(rounds, at),
      seed: seed * 100_003 + at,
      lastsMs,
      limitedProject,
    });
    rounds.push(round);
    told?.(round, at);
  }
  return { fault, rounds, problems: await atTheEnd(world, knownOf(sinceMs, rounds, projectLimit), standings) };
}

/** Each phase in turn; every other fault is for the one that was hit least so far. */
function aimOf(rounds: readonly Round[], at: number): Phase {
  const inTurn = phases[(at >> 1) % phases.length] ?? "streaming";
  if (at % 2 === 0) return inTurn;
  return phases.toSorted((a, b) => hitsIn(rounds, a) - hitsIn(rounds, b))[0] ?? inTurn;
}

/** How often at least one request in a phase was hit. */
export function hitsIn(rounds: readonly Round[], phase: Phase): number {
  return rounds.filter(({ hit }) => hit[phase] > 0).length;
}

/**
 * What a dead process had reserved lapses after 15 s, and leases are given back before; a process that is back tells what
 * it could not tell before.
 */
const standMs = 45_000;

async function atTheEnd(world: World, known: Known, standings: boolean): Promise<readonly string[]> {
  const endMs = performance.now() + standMs;
  for (;;) {
    const problems = problemsOf(await (standings ? standing(world, known) : truthSince(world, known)));
    if (problems.length === 0 || performance.now() > endMs) return problems.map((problem) => `at the end: ${problem}`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

function knownOf(sinceMs: number, rounds: readonly Round[], projectLimit: Limited): Known {
  return {
    sinceMs,
    sights: rounds.flatMap((round) => round.sights),
    deathsMs: rounds.flatMap((round) => round.deathsMs),
    limits: [projectLimit, ...rounds.flatMap((round) => round.limits)],
    counting: {
      diedMs: rounds.flatMap(({ counting }) => counting.diedMs),
      away: rounds.flatMap(({ counting }) => counting.away),
    },
  };
}

/** With what limits say of themselves. */
async function standing(world: World, known: Known): Promise<Truth> {
  const truth = await truthSince(world, known);
  const standings = await standingsOf(world.calls, known.limits);
  return { ...truth, standings, standingMs: Date.now() };
}
