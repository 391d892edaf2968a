import { EndReason, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { SetAsideReason } from "../runtime/telemetry/metrics.ts";
import type { AttemptRow, Counts, RecordRow } from "./record.ts";
import { isRequestId, msOfRequestId } from "./request-id.ts";

/** What is wrong with a record. */
export interface Problem {
  readonly reason: SetAsideReason;
  readonly problem: string;
}

/** Which ids are taken, by their time in milliseconds: from `fromMs` up to and including `untilMs`. */
export interface IdWindow {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** No request uses this many tokens, not 128 choices of the longest context: the count is nonsense. */
const countMax = 2 ** 31 - 1;
/** 24.8 days, as much as 31 bits of milliseconds hold. */
const durationMaxMs = 2 ** 31 - 1;
const sequenceMax = Number.MAX_SAFE_INTEGER;
const attemptsMax = 16;
const replicaLengthMax = 256;
const countSourceMax = 3;
/** A column's bound. Nodes are of a newer version for a while: its reasons are kept as they are. */
const reasonMax = 32_767;
/**
 * An id is made when its request arrives, and the request admitted soon after: a day is far more than a queue's patience
 * and a clock that is set meanwhile.
 */
export const admitSlackMs = 86_400_000;

/** Holds a record against the contract, and against what can be true. Undefined: it can be kept. */
export function problemOf(row: RecordRow, window: IdWindow): Problem | undefined {
  const malformed = malformation(row);
  if (malformed !== undefined) return { reason: "malformed", problem: malformed };
  const counts = countsProblem("tokens", row.tokens) ?? attemptsCountsProblem(row.attempts);
  if (counts !== undefined) return { reason: "counts", problem: counts };
  const idMs = msOfRequestId(row.requestId);
  if (idMs < window.fromMs) return { reason: "too_old", problem: "its time lies before what is kept" };
  if (idMs > window.untilMs) return { reason: "future", problem: "its time lies in the future" };
  return undefined;
}

function malformation(row: RecordRow): string | undefined {
  if (!isRequestId(row.requestId)) return "request_id is no UUIDv7";
  if (!(row.state >= UsageState.INTENT && row.state <= UsageState.FINAL)) return "state is unknown";
  if (!(row.sequence >= 1 && row.sequence <= sequenceMax)) return "sequence is not from 1 to 2^53";
  if (!isReason(row.endReason)) return "end_reason makes no sense";
  if ((row.state === UsageState.FINAL) !== (row.endReason !== EndReason.UNSPECIFIED)) {
    return "a final record has an end_reason, and no other has one";
  }
  if (!isReason(row.errorReason)) return "error_reason makes no sense";
  if (isTooLong(row.replicaId)) return "replica_id is too long";
  if (!(Math.abs(row.admitMs - msOfRequestId(row.requestId)) <= admitSlackMs)) {
    return "admit_time is not within a day of the time in request_id";
  }
  if (!isDuration(row.firstTokenMs)) return "time_to_first_token makes no sense";
  if (!isDuration(row.durationMs)) return "duration makes no sense";
  if (!isDuration(row.queueMs)) return "queue_time makes no sense";
  if (row.attempts.length > attemptsMax) return "there are too many attempts";
  for (const attempt of row.attempts) {
    const problem = attemptProblem(attempt, row.admitMs);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function attemptProblem(attempt: AttemptRow, admitMs: number): string | undefined {
  if (attempt.replicaId === "" || isTooLong(attempt.replicaId)) return "an attempt's replica_id is empty or too long";
  // Clocks may be set back between admission and dispatch.
  if (!(Math.abs(attempt.dispatchMs - admitMs) <= durationMaxMs)) return "an attempt's dispatch_time makes no sense";
  if (!isDuration(attempt.durationMs)) return "an attempt's duration makes no sense";
  return isReason(attempt.errorReason) ? undefined : "an attempt's error_reason makes no sense";
}

function attemptsCountsProblem(attempts: readonly AttemptRow[]): string | undefined {
  for (const { tokens } of attempts) {
    const problem = countsProblem("an attempt's tokens", tokens);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Written so that NaN is refused. */
function countsProblem(name: string, counts: Counts): string | undefined {
  const { promptTokens, completionTokens, cachedTokens, reasoningTokens } = counts;
  if (!(promptTokens >= 0 && completionTokens >= 0 && cachedTokens >= 0 && reasoningTokens >= 0)) {
    return `${name}: a count is negative`;
  }
  if (promptTokens > countMax || completionTokens > countMax) return `${name}: a count is absurd`;
  if (cachedTokens > promptTokens) return `${name}: more of the prompt was cached than it has`;
  if (reasoningTokens > completionTokens) return `${name}: more was thought than was answered`;
  return isSource(counts.promptSource) && isSource(counts.completionSource)
    ? undefined
    : `${name}: a source is unknown`;
}

function isSource(source: number): boolean {
  return source >= 0 && source <= countSourceMax;
}

function isReason(reason: number): boolean {
  return reason >= 0 && reason <= reasonMax;
}

function isDuration(ms: number | undefined): boolean {
  return ms === undefined || (ms >= 0 && ms <= durationMaxMs);
}

function isTooLong(replicaId: string): boolean {
  return replicaId.length > replicaLengthMax && Array.from(replicaId).length > replicaLengthMax;
}
