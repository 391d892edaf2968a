import { isRefused } from "./load.ts";
import type { Sight } from "./truth.ts";

/** A deadline that the client itself set passed. */
const own = ["timeout"];

/**
 * What clients with known keys noticed of a fault behind the process that serves them. Nothing, is the promise: requests
 * of engines that work are answered, from `fromMs` on. A key is known when one of its requests was answered before that.
 * `frail` is asked for failures, and is left out.
 *
 * @param limited keys that a limit may refuse: whether it did so rightly, others look at.
 */
export function serviceProblems(
  sights: readonly Sight[],
  fromMs: number,
  limited: ReadonlySet<string> = new Set(),
): readonly string[] {
  const known = new Set(
    sights.filter(({ headMs = Infinity, status }) => status === 200 && headMs < fromMs).map(({ keyId }) => keyId),
  );
  const noticed = sights.filter((sight) => {
    const { keyId, model, sentMs, end, code = "" } = sight;
    if (limited.has(keyId) && isRefused(sight)) return false;
    if (!known.has(keyId) || model === "frail" || sentMs < fromMs || end === "whole" || end === "left") return false;
    return !(end === "failed" && own.includes(code));
  });
  return noticed.map(
    ({ model, end, status, code }) => `service goes on: a request for ${model} ended ${end} (${status}, ${code})`,
  );
}
