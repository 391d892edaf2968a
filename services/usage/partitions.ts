import { leastIdAt } from "./request-id.ts";

/** A calendar month, UTC, of request ids: what a partition holds. */
export interface Month {
  /** "2026_11". */
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
}

const nameShape = /^(\d{4})_(\d{2})$/;

/** The month that a time lies in. */
export function monthAt(ms: number): Month {
  const date = new Date(ms);
  return monthOf(date.getUTCFullYear(), date.getUTCMonth());
}

/** A month by its name; undefined if it is none. */
export function monthNamed(name: string): Month | undefined {
  const [, year, month] = nameShape.exec(name) ?? [];
  if (year === undefined || month === undefined) return undefined;
  return monthOf(Number(year), Number(month) - 1);
}

function monthOf(year: number, month: number): Month {
  const startMs = Date.UTC(year, month);
  const name = new Date(startMs).toISOString().slice(0, 7).replace("-", "_");
  return { name, startMs, endMs: Date.UTC(year, month + 1) };
}

/** The months that times from `fromMs` to `toMs` lie in. */
export function monthsFrom(fromMs: number, toMs: number): Month[] {
  const months: Month[] = [];
  for (let month = monthAt(fromMs); month.startMs <= toMs; month = monthAt(month.endMs)) months.push(month);
  return months;
}

/** The bounds of a month's partition: the first id in it, and the first one after. */
export function idBounds({ startMs, endMs }: Month): readonly [string, string] {
  return [leastIdAt(startMs), leastIdAt(endMs)];
}

/** A partition is there this long before its month begins: longer than clocks may differ, or DDL may be put off. */
const aheadMs = 7 * 86_400_000;

/** The months whose partitions have to be there at a time. Earlier ones are made when a record asks for them. */
export function monthsNeeded(nowMs: number): Month[] {
  return monthsFrom(nowMs - aheadMs, nowMs + aheadMs);
}

/** When the oldest record that is kept was made: partitions are kept whole, so up to a month more than is asked for. */
export function keptFromMs(nowMs: number, retentionMs: number): number {
  return monthAt(Math.max(0, nowMs - retentionMs)).startMs;
}
