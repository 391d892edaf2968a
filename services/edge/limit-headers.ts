import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { RateLimit } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { limitKind, type LimitKind } from "../runtime/errors/limit-kind.ts";
import type { WeirError } from "../runtime/errors/fail.ts";

/** What limits have left, by what they count. */
export interface RateLimits {
  readonly requests?: RateLimit | undefined;
  readonly tokens?: RateLimit | undefined;
}

const names = {
  requests: {
    limit: "x-ratelimit-limit-requests",
    remaining: "x-ratelimit-remaining-requests",
    reset: "x-ratelimit-reset-requests",
  },
  tokens: {
    limit: "x-ratelimit-limit-tokens",
    remaining: "x-ratelimit-remaining-tokens",
    reset: "x-ratelimit-reset-tokens",
  },
} as const satisfies Record<LimitKind, object>;

/** Adds the headers that tell what a limit has left, as OpenAI's API does. */
export function addLimitHeaders(
  headers: Record<string, string | number>,
  kind: LimitKind,
  { limit, remaining, resetAfter }: RateLimit,
): void {
  const afterMs = resetAfter ? Number(resetAfter.seconds) * 1_000 + Math.ceil(resetAfter.nanos / 1e6) : 0;
  const name = names[kind];
  // They are below 2^53, and writing a BigInt costs ten times as much.
  headers[name.limit] = Number(limit);
  headers[name.remaining] = Number(remaining);
  headers[name.reset] = goDuration(afterMs);
}

/** The same of a limit that refused, as far as it told. Of requests at once there are none: nothing fills up again. */
export function refusingLimitHeaders({ reason, facts }: WeirError): Record<string, string> {
  if (reason !== ErrorReason.RATE_LIMITED || facts["limit"] === undefined) return {};
  const kind = limitKind(facts["dimension"]);
  if (isOfPlaces(facts)) return {};
  const headers: Record<string, string> = { [`x-ratelimit-limit-${kind}`]: facts["limit"] };
  headers[`x-ratelimit-remaining-${kind}`] = facts["remaining"] ?? "0";
  if (facts["reset_after_ms"] !== undefined)
    headers[`x-ratelimit-reset-${kind}`] = goDuration(Number(facts["reset_after_ms"]));
  return headers;
}

/** Whether a limit of requests at once is full. */
export function isPlaceRefusal({ reason, facts }: WeirError): boolean {
  return reason === ErrorReason.RATE_LIMITED && isOfPlaces(facts);
}

function isOfPlaces(facts: WeirError["facts"]): boolean {
  return facts["dimension"] === "concurrent requests";
}

/** A duration as Go writes it, which clients parse: "12ms", "1s", "1.5s", "6m0s", "1h2m3s". */
function goDuration(ms: number): string {
  const whole = Math.max(0, Math.round(ms));
  if (whole === 0) return "0s";
  if (whole < 1_000) return `${whole}ms`;
  const hours = Math.floor(whole / 3_600_000);
  const minutes = Math.floor(whole / 60_000) % 60;
  const seconds = `${(whole % 60_000) / 1_000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
