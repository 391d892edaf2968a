import type { AttemptRow, Counts, RecordRow } from "./record.ts";

/** When the one attempt of a request was dispatched, after its admission, and how long it took. */
export interface PlainAttempt {
  readonly delayMs: number;
  readonly durationMs: number | undefined;
}

/**
 * The attempt of a request that one replica answered at once, which nearly all are: everything but its times is in the
 * record already, so that it needs no row of its own. A third of a batch's cost is saved. Undefined: its attempts, if
 * it has any, are kept as rows.
 */
export function inRow({ attempts, replicaId, admitMs, tokens }: RecordRow): PlainAttempt | undefined {
  const [only] = attempts;
  if (only === undefined || attempts.length > 1 || only.errorReason !== 0) return undefined;
  if (only.replicaId !== replicaId || !sameCounts(only.tokens, tokens)) return undefined;
  return { delayMs: only.dispatchMs - admitMs, durationMs: only.durationMs };
}

/** The attempt as it came. */
export function fromRow(
  { replicaId, admitMs, tokens }: Pick<RecordRow, "replicaId" | "admitMs" | "tokens">,
  { delayMs, durationMs }: PlainAttempt,
): AttemptRow {
  return { replicaId, dispatchMs: admitMs + delayMs, durationMs, tokens, errorReason: 0 };
}

function sameCounts(a: Counts, b: Counts): boolean {
  return (
    a.promptTokens === b.promptTokens &&
    a.completionTokens === b.completionTokens &&
    a.cachedTokens === b.cachedTokens &&
    a.reasoningTokens === b.reasoningTokens &&
    a.promptSource === b.promptSource &&
    a.completionSource === b.completionSource
  );
}
