import { quantile } from "../../bench/statistics.ts";
import { type CampaignResult, hitsIn } from "./campaign.ts";
import { isRefused } from "./load.ts";
import { phases } from "./phases.ts";
import type { Round } from "./round.ts";
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
  /** How many a limit refused. */
  readonly refused: number;
  readonly limits: number;
  readonly keyWrites: number;
  /** How long processes stood still for want of a processor: promises of limits that take time were not looked at then. */
  readonly stalledMs: number;
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
    refused: sights.filter(isRefused).length,
    limits: rounds.reduce((sum, { limits }) => sum + limits.length, 0),
    stalledMs: rounds.reduce((sum, round) => sum + round.stalledMs, 0),
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

/** Of 200 kills of the gateway 20 have to hit each phase. */
const hitsShare = 1 / 10;

/** What is wrong with a campaign that was to have so many rounds. */
export function failuresOf(result: CampaignResult, times: number): readonly string[] {
  const { fault, rounds } = result;
  const failures = [...problemsIn([result])];
  if (rounds.length < times) failures.push(`the time was over after ${rounds.length} of ${times}`);
  if (fault !== "gateway killed") return failures;
  for (const phase of phases) {
    const hits = hitsIn(rounds, phase);
    if (hits < Math.floor(times * hitsShare)) failures.push(`${phase} was hit ${hits} times by ${times} kills`);
  }
  return failures;
}

/** One fault, in a line. */
export function progressOf({ aim, hit, sights, settledMs, problems }: Round): string {
  const found = phases.map((phase) => `${phase} ${hit[phase]}`).join(", ");
  const refused = sights.filter(isRefused).length;
  const verdict = problems.length === 0 ? "kept" : `${problems.length} BROKEN`;
  return `aimed at ${aim}, hit ${found}; ${sights.length} requests, ${refused} refused, whole after ${settledMs} ms; ${verdict}`;
}

const barLength = 40;

/** How often each phase was hit, and what else is worth knowing, a line each. */
export function histogramOf(summary: Summary): string {
  const { times, requests, refused, limits, ends, stoppedMs, settledMs, keyWrites, stalledMs } = summary;
  const lines = Object.entries(summary.phases).map(([phase, found]) => {
    const bar = "#".repeat(Math.round((found.times / Math.max(1, times)) * barLength)).padEnd(barLength);
    return `  ${phase.padEnd(10)} ${bar} ${found.times} of ${times} times, ${found.requests} requests`;
  });
  const ended = Object.entries(ends).map(([end, count]) => `${count} ${end}`);
  lines.push(
    `  ${requests} requests (${ended.join(", ")}), ${refused} refused by ${limits} limits; ${keyWrites} key writes`,
  );
  const ms = (all: readonly number[]) => all.map(Math.round).join(" / ");
  if (stoppedMs.length > 0) lines.push(`  engines stopped after ${ms(stoppedMs)} ms (half, 99 %, all)`);
  if (settledMs.length > 0) lines.push(`  the ledger was whole after ${ms(settledMs)} ms (half, all)`);
  if (stalledMs > 0) lines.push(`  processes stood still, or were down, for ${Math.round(stalledMs / 1_000)} s in all`);
  return lines.join("\n");
}
