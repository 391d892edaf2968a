import { type Failure, overloaded } from "../failure.ts";
import type { FailedHead } from "../http/status.ts";

const dimensions = ["requests", "tokens"] as const;
const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Where no Retry-After says when there is room again, the limits that are used up do. */
export function withReset(failure: Failure, head: FailedHead): Failure {
  if (failure.reason !== overloaded.reason || failure.retryAfterMs !== undefined) return failure;
  const waits = dimensions
    .filter((name) => head.field(`x-ratelimit-remaining-${name}`) === "0")
    .map((name) => durationMs(head.field(`x-ratelimit-reset-${name}`) ?? ""))
    .filter((ms) => ms !== undefined);
  return waits.length === 0 ? failure : { ...failure, retryAfterMs: Math.max(...waits) };
}

/** A time as OpenAI writes it ("6m0s", "20ms"), or as Azure does (seconds). */
function durationMs(text: string): number | undefined {
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  if (!/^(?:\d{1,9}(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return undefined;
  const parts = text.matchAll(/([\d.]+)(ms|s|m|h)/g);
  return Math.round(
    Array.from(parts).reduce((sum, [, value, unit = ""]) => sum + Number(value) * (unitMs[unit] ?? 0), 0),
  );
}
