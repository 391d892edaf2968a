import { quantile } from "../../bench/statistics.ts";
import { type CampaignResult, hitsIn } from "./campaign.ts";
import { phases } from "./phases.ts";
import type { SightEnd } from "./truth.ts";

/** What a fault came to, for a table and for machines. */
export interface Summary {
  readonly fault: string;
  readonly times: number;
  readonly requests: number;
  /** How often at least one request in the phase was hit, and how many requests were. */
  readonly phases: Readonly<Record<string, { readonly times: number; readonly requests: number }>>;
  /** How requests ended for their clients. */
  readonly ends: Readonly<Partial<Record<SightEnd, number>>>;
  readonly keyWrites: number;
  /** From the kill until the engines had stopped, p50, p99 and most, in milliseconds; none: engines were not to stop. */
  readonly stoppedMs: readonly number[];
  /** From the restart until the ledger held everything, p50 and most, in milliseconds. */
  readonly settledMs: readonly number[];
  readonly problems: number;
}

/** Sums up campaigns with one fault, in whatever worlds. */
export function summaryOf(results: readonly CampaignResult[]): Summary {
  const rounds = results.flatMap((result) => result.rounds);
  const sights = rounds.flatMap((round) => round.sights);
  const stopped = rounds.flatMap((round) => round.stoppedMs);
  const settled = rounds.map((round) => round.settledMs);
  const ends = Object.entries(Object.groupBy(sights, ({ end }) => end)).map(([end, all]) => [end, all.length]);
  return {
    fault: results[0]?.fault ?? "",
    times: rounds.length,
    requests: sights.length,
    phases: Object.fromEntries(
      phases.map((phase) => [
        phase,
        { times: hitsIn(rounds, phase), requests: rounds.reduce((sum, { hit }) => sum + hit[phase], 0) },
      ]),
    ),
    ends: Object.fromEntries(ends) as Summary["ends"],
    keyWrites: rounds.reduce((sum, { writes }) => sum + writes, 0),
    stoppedMs: stopped.length > 0 ? [quantile(stopped, 0.5), quantile(stopped, 0.99), Math.max(...stopped)] : [],
    settledMs: settled.length > 0 ? [quantile(settled, 0.5), Math.max(...settled)] : [],
    problems: problemsIn(results).length,
  };
}

/** Every break of a promise. */
export function problemsIn(results: readonly CampaignResult[]): readonly string[] {
  return results.flatMap(({ rounds, problems }) => [...rounds.flatMap((round) => round.problems), ...problems]);
}

/** A row a fault, for `console.table`: of each phase how often it was hit, and with how many requests. */
export function tableOf(summaries: readonly Summary[]): object[] {
  return summaries.map(({ fault, times, requests, phases: hit, stoppedMs, settledMs, keyWrites, problems }) => ({
    fault,
    times,
    requests,
    ...Object.fromEntries(Object.entries(hit).map(([phase, found]) => [phase, `${found.times} (${found.requests})`])),
    "engines stop, ms": stoppedMs.map(Math.round).join(" / "),
    "ledger whole, ms": settledMs.map(Math.round).join(" / "),
    "key writes": keyWrites,
    problems,
  }));
}
