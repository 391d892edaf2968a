import { CalendarPeriod } from "../../gen/ts/weir/quota/v1/limit_pb.ts";

/** A period of the calendar: from `startMs` up to but not including `endMs`, milliseconds since the epoch. */
export interface Period {
  readonly startMs: number;
  readonly endMs: number;
}

const dayMs = 86_400_000;
// There are about 600 zones, with their other names; more can't be asked for.
const formatsMax = 1_024;
const formats = new Map<string, Intl.DateTimeFormat>();

/**
 * The period that a moment lies in. It begins with the first instant of its first day in that time zone, also where
 * clocks skip midnight or strike it twice.
 *
 * @param timeZone an IANA name; empty stands for UTC.
 * @throws RangeError if there is no such time zone.
 */
export function periodAt(period: CalendarPeriod, timeZone: string, atMs: number): Period {
  const zone = timeZone || "UTC";
  const local = new Date(atMs + offsetMs(zone, atMs));
  const year = local.getUTCFullYear();
  const month = local.getUTCMonth();
  const day = local.getUTCDate();
  // Days beyond a month's end belong to the next one: Date.UTC reckons so.
  const [first, next] = dayBorders(period, year, month, day, local.getUTCDay());
  return { startMs: midnight(zone, first), endMs: Math.max(midnight(zone, next), atMs + 1) };
}

/** First day and the day after the last, as if they were in UTC. */
function dayBorders(period: CalendarPeriod, year: number, month: number, day: number, weekday: number) {
  if (period === CalendarPeriod.MONTH) return [Date.UTC(year, month, 1), Date.UTC(year, month + 1, 1)] as const;
  if (period === CalendarPeriod.WEEK) {
    const monday = day - ((weekday + 6) % 7);
    return [Date.UTC(year, month, monday), Date.UTC(year, month, monday + 7)] as const;
  }
  return [Date.UTC(year, month, day), Date.UTC(year, month, day + 1)] as const;
}

/** The first instant of a local day. */
function midnight(zone: string, localMs: number): number {
  const before = localMs - offsetMs(zone, localMs - dayMs);
  const after = localMs - offsetMs(zone, localMs + dayMs);
  const shown = [before, after].filter((instantMs) => instantMs + offsetMs(zone, instantMs) === localMs);
  // None shows midnight where clocks skip it: the day begins at the leap, which midnight of the old offset names.
  return shown.length > 0 ? Math.min(...shown) : before;
}

/** How far local time is ahead of UTC. */
function offsetMs(zone: string, atMs: number): number {
  const parts: Record<string, number> = {};
  for (const { type, value } of formatOf(zone).formatToParts(atMs)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(atMs / 1_000) * 1_000;
}

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known !== undefined) return known;
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    calendar: "gregory",
    numberingSystem: "latn",
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  if (formats.size >= formatsMax) formats.clear();
  formats.set(zone, format);
  return format;
}
