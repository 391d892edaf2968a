import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { endOf, type Traced } from "../../fakes/record-tail.ts";
import type { Checker, Join, Joined } from "./join.ts";
import { isRefused } from "./load.ts";
import type { Limited, Row, Sight, Truth } from "./truth.ts";

/*
 * What must hold of limits. While the process that counts can be asked, they hold exactly. Beyond that only this is let:
 *
 * - It died: what it had counted is gone, and it may give out a whole limit again.
 * - It could not be asked: `local` gives out the share of the node that serves, which is all, once for each time; `open`
 *   everything; `closed` nothing.
 * - Tokens: how many a prompt has is known for sure only once its engine has counted them.
 */

export const limitCheckers: Readonly<Record<string, Checker>> = {
  "a limit admits what it has, and no more": admittedWithin,
  "no more run at once than a limit lets": atOnceWithin,
  "who is refused by a limit leaves nothing behind": refusedLeaveNothing,
  "a limit refuses only what it has not": refusedForReason,
  "limits have counted what the ledger has": standingsAgree,
};

/** Requests and tokens in a time: no more than the limit has. */
function admittedWithin(truth: Truth, { requests }: Join): readonly string[] {
  return truth.limits.flatMap((limit) => {
    if (limit.of === "concurrency") return [];
    const counted = countedBy(limit, requests);
    const { before, died, away, first } = eventsOf(truth, limit, counted);
    const beyond = limit.of === "tokens" ? promptsAtOnce(truth, counted) : 0;
    const check = (when: string, some: readonly Counted[], most: number): readonly string[] => {
      const sum = sumOf(limit, some);
      const spanMs = (some.at(-1)?.row.admitMs ?? limit.sinceMs) - limit.sinceMs;
      const let_ = most + Math.ceil((limit.count * spanMs) / limit.refillMs) + beyond;
      return sum <= let_ ? [] : [`${nameOf(limit)}: ${sum} ${limit.of} ${when}, and ${let_} are let`];
    };
    return [
      ...(first === undefined ? [] : check("while it could be checked", before, limit.count)),
      ...check("in all", counted, limit.count * (1 + died) + unchecked(limit, away)),
    ];
  });
}

/** Requests at once, by the engines' records: no more than the limit. */
function atOnceWithin(truth: Truth, { requests }: Join): readonly string[] {
  return truth.limits.flatMap((limit) => {
    if (limit.of !== "concurrency") return [];
    const counted = countedBy(limit, requests);
    const { before, died, away, first } = eventsOf(truth, limit, counted);
    const check = (when: string, some: readonly Counted[], most: number): readonly string[] => {
      const peak = mostAtOnce(some.flatMap((one) => spanAtEngines(truth, one)));
      return peak <= most
        ? []
        : [`${nameOf(limit)}: ${peak} at once ${when}, and ${most} are let: ${tellOf(truth, some)}`];
    };
    return [
      ...(first === undefined ? [] : check("while it could be checked", before, limit.count)),
      ...check("in all", counted, limit.count * (1 + died) + unchecked(limit, Math.min(away, 1))),
    ];
  });
}

/** What is known of requests that were more at once than there are places: their times as the ledger and engines have them. */
function tellOf(truth: Truth, some: readonly Counted[]): string {
  const told = some.map((one) => {
    const { row, traces } = one;
    const engines = traces.map(({ at, model }) => `${model} ${JSON.stringify(Object.fromEntries(at))}`);
    const { fromMs = 0, toMs = 0 } = spanAtEngines(truth, one)[0] ?? {};
    const ledger = `${one.requestId} in the ledger ${row.admitMs}-${row.admitMs + row.durationMs}`;
    return `${ledger}, at engines ${fromMs}-${toMs}: ${engines.join("; ")}`;
  });
  return told.join("\n    ");
}

/** Who is refused by a limit reaches no engine, and is not in the ledger. */
function refusedLeaveNothing({ sights }: Truth, { requests }: Join): readonly string[] {
  const known = new Map(requests.map((one) => [one.requestId, one]));
  return sights.filter(isRefused).flatMap(({ requestId, keyId, status, code }) => {
    const what = `${status} (${code}) for ${keyId}`;
    if (requestId === undefined) return [`${what} has no id`];
    const found = known.get(requestId);
    if (found === undefined) return [];
    return [`${what}, and ${requestId} is known to ${found.row ? "the ledger" : "an engine"}`];
  });
}

/** As long as nothing is wrong nobody is refused what a limit still has, and nobody is told that it can't be checked. */
function refusedForReason(truth: Truth, { requests, unknown }: Join): readonly string[] {
  const { sights, counting, limits } = truth;
  const isAway = (fromMs: number, toMs: number) =>
    counting.away.some((away) => fromMs <= away.toMs && toMs >= away.fromMs);
  const unavailable = sights
    .filter((sight) => isRefused(sight) && sight.status === 503 && !isAway(sight.sentMs, sight.endedMs))
    .map(({ keyId, requestId }) => `${requestId} of ${keyId}: its limits can't be checked, and nothing was away`);
  const early = limits.flatMap((limit) => {
    if (limit.keyId === undefined || limit.of === "tokens") return [];
    const counted = countedBy(limit, requests, true);
    // What died before it was in the ledger may have been admitted all the same.
    const waiting = unknown.filter((sight) => sight.keyId === limit.keyId && !isRefused(sight));
    const first = Math.min(eventsOf(truth, limit, counted).first ?? Infinity, ...truth.deathsMs.filter(isAfter(limit)));
    return sights.flatMap(({ keyId, status, sentMs, endedMs, requestId }) => {
      if (keyId !== limit.keyId || status !== 429 || endedMs >= first) return [];
      const spans = [
        ...counted.map(spanInLedger),
        ...waiting.map(({ sentMs, endedMs }) => ({ fromMs: sentMs, toMs: endedMs })),
      ]
        .filter((span) => span.fromMs <= endedMs)
        .map((span) => ({ ...span, fromMs: limit.of === "requests" ? span.fromMs : Math.max(span.fromMs, sentMs) }));
      const had = limit.of === "requests" ? spans.length : mostAtOnce(spans);
      return had >= limit.count ? [] : [`${nameOf(limit)}: ${requestId} was refused, and it had ${had}`];
    });
  });
  return [...unavailable, ...early];
}

/**
 * When nothing runs any more, limits have counted what the ledger has. What a process had set aside for requests when it
 * died counts as used, as far as nobody can tell what they used of it: also for those that had not been admitted, which
 * the ledger does not have.
 */
function standingsAgree(truth: Truth, { requests, unknown }: Join): readonly string[] {
  const { limits, standings, standingMs, deathsMs } = truth;
  const unborn = unknown.filter(({ sentMs, endedMs }) => deathsMs.some((atMs) => sentMs <= atMs && atMs <= endedMs));
  if (standings.size === 0) return [];
  return limits.flatMap((limit) => {
    const standing = standings.get(limit.limitId);
    if (standing === undefined) return [`${nameOf(limit)} is not known any more`];
    const { used, reserved, leased, remaining } = standing;
    const problems: string[] = [];
    if (reserved !== 0) problems.push(`${reserved} are reserved, and nothing runs`);
    if (leased !== 0) problems.push(`${leased} are leased, and nothing runs`);
    const counted = countedBy(limit, requests, true);
    const dispatched = counted.filter(wasDispatched);
    const sum = limit.of === "concurrency" ? 0 : sumOf(limit, dispatched);
    const lost = [
      ...counted.map((one) => lostBy(limit, one)),
      ...unborn.filter(({ keyId }) => keysOf(limit, limits).has(keyId)).map((sight) => setAsideFor(limit, sight)),
    ].reduce((all, one) => all + one, 0);
    const drained = Math.ceil((limit.count * (standingMs - limit.sinceMs)) / limit.refillMs);
    const died = truth.counting.diedMs.some(isAfter(limit));
    const least = died ? 0 : Math.max(0, sum - drained);
    if (used < least || used > sum + lost) {
      const wanted = least === sum + lost ? `${sum}` : `${least} to ${sum + lost}`;
      problems.push(`it counts ${used} used, and the ledger has ${wanted}`);
    }
    if (remaining !== limit.count - used) problems.push(`${used} used and ${remaining} left`);
    return problems.map((problem) => `${nameOf(limit)}: ${problem}`);
  });
}

/** A request with what the ledger has of it. */
type Counted = Joined & { readonly row: Row };

function wasDispatched({ row, traces }: Counted): boolean {
  return row.attempts > 0 || traces.length > 0;
}

/** Requests that a limit counts, the first admitted first. What no engine was sent is not among them, unless `all`. */
function countedBy(limit: Limited, requests: readonly Joined[], all = false): readonly Counted[] {
  return requests
    .filter((one): one is Counted => one.row !== undefined)
    .filter(({ row }) => (limit.keyId === undefined ? row.projectId === limit.projectId : row.keyId === limit.keyId))
    .filter((one) => all || wasDispatched(one))
    .toSorted((a, b) => a.row.admitMs - b.row.admitMs);
}

function sumOf({ of }: Limited, counted: readonly Counted[]): number {
  if (of === "requests") return counted.length;
  return counted.reduce((sum, { row }) => sum + row.promptTokens + row.completionTokens, 0);
}

interface Events {
  /** When the first thing happened to the process that counts; undefined: nothing did. */
  readonly first: number | undefined;
  /** What was dispatched before that: who waited for a place then may have been let in without a check. */
  readonly before: readonly Counted[];
  /** How often it died, and could not be asked, in the time in which something was admitted. */
  readonly died: number;
  readonly away: number;
}

function eventsOf({ counting }: Truth, limit: Limited, counted: readonly Counted[]): Events {
  const lastMs = counted.at(-1)?.row.admitMs ?? limit.sinceMs;
  const met = (atMs: number) => isAfter(limit)(atMs) && atMs <= lastMs;
  const died = counting.diedMs.filter(met);
  const away = counting.away.map(({ fromMs }) => fromMs).filter(met);
  const first = died.length + away.length > 0 ? Math.min(...died, ...away) : undefined;
  const before = counted.filter((one) => dispatchedMs(one) < (first ?? Infinity));
  return { first, before, died: died.length, away: away.length };
}

function dispatchedMs({ row, traces }: Counted): number {
  return Math.max(row.admitMs, traces[0]?.at.get("received") ?? row.admitMs);
}

function isAfter({ sinceMs }: Limited): (atMs: number) => boolean {
  return (atMs) => atMs > sinceMs;
}

function unchecked({ onFailure, count }: Limited, away: number): number {
  if (away === 0 || onFailure === "closed") return 0;
  return onFailure === "open" ? Infinity : count * away;
}

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** An engine hears of a cancel within 250 ms, and writes it down, on a busy machine, a while later. */
const cancelledWithinMs = 1_000;
/** Times are whole milliseconds of two processes. */
const roundedMs = 2;

/**
 * From when an engine had a request until none had. What was cancelled is over when the router says so, if its engine then
 * stopped in time; an ensemble can't be stopped, and a process that died has nothing running.
 */
function spanAtEngines({ deathsMs }: Truth, { row, traces }: Counted): Span[] {
  const fromMs = Math.min(...traces.map(({ at }) => at.get("received") ?? Infinity));
  if (!Number.isFinite(fromMs)) return [];
  const overMs = row.endReason === EndReason.LOST ? Infinity : row.admitMs + row.durationMs;
  const died = deathsMs.find((atMs) => atMs >= row.admitMs) ?? Infinity;
  const ends = traces.map((trace) => endAt(trace, overMs));
  return [{ fromMs, toMs: Math.min(died, Math.max(...ends)) - roundedMs }];
}

function endAt(trace: Traced, overMs: number): number {
  const end = endOf(trace);
  const atMs = (end && trace.at.get(end)) ?? Infinity;
  if (trace.model === "ensemble") return Math.min(atMs, overMs);
  return end === "cancelled" ? Math.min(atMs, Math.max(overMs, atMs - cancelledWithinMs)) : atMs;
}

function spanInLedger({ row }: Counted): Span {
  const isKnown = row.endReason !== EndReason.LOST;
  return { fromMs: row.admitMs, toMs: isKnown ? row.admitMs + row.durationMs : Infinity };
}

function mostAtOnce(spans: readonly Span[], weight: (at: number) => number = () => 1): number {
  // At the same moment one ends before another begins.
  const steps = spans
    .flatMap(({ fromMs, toMs }, at) =>
      toMs <= fromMs
        ? []
        : [
            { atMs: fromMs, by: weight(at) },
            { atMs: toMs, by: -weight(at) },
          ],
    )
    .toSorted((a, b) => a.atMs - b.atMs || a.by - b.by);
  let open = 0;
  let most = 0;
  for (const { by } of steps) {
    open += by;
    most = Math.max(most, open);
  }
  return most;
}

/** What limits could not know of the prompts that ran together. */
function promptsAtOnce(_truth: Truth, counted: readonly Counted[]): number {
  return mostAtOnce(counted.map(spanInLedger), (at) => counted[at]?.row.promptTokens ?? 0);
}

/** What was set aside for a request that died with its process, beyond what the ledger has of it. */
function lostBy(limit: Limited, { row, sight }: Counted): number {
  if (row.endReason !== EndReason.LOST) return 0;
  if (limit.of === "requests" && row.attempts > 0) return 0;
  return setAsideFor(limit, sight ?? { promptTokens: row.promptTokens, wantedTokens: 0 });
}

/** The most that is set aside for a request: a prompt is thought to be twice as long as it is at most. */
function setAsideFor({ of }: Limited, { promptTokens, wantedTokens }: Pick<Sight, "promptTokens" | "wantedTokens">) {
  if (of === "concurrency") return 0;
  return of === "requests" ? 1 : 2 * promptTokens + wantedTokens;
}

/** The keys that a limit counts. All keys of a project that has one have limits of their own. */
function keysOf({ keyId, projectId }: Limited, limits: readonly Limited[]): ReadonlySet<string> {
  if (keyId !== undefined) return new Set([keyId]);
  const others = limits.filter((one) => one.projectId === projectId);
  return new Set(others.flatMap((one) => (one.keyId === undefined ? [] : [one.keyId])));
}

function nameOf({ of, onFailure, count, keyId, projectId }: Limited): string {
  return `the limit of ${count} ${of} (${onFailure}) on ${keyId ?? projectId}`;
}
