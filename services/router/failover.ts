import { ErrorReason, ErrorSource, Retry } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import { errorRow } from "../runtime/errors/table.ts";

/** Where a request stands when a try of it fails. */
export interface Standing {
  /** Tries so far, this one among them. */
  readonly attempts: number;
  readonly attemptsMax: number;
  /** The caller has seen a piece of the answer: another replica would begin anew. */
  readonly committed: boolean;
  /** Engines that went away with the request, or with others that asked for the same, as far as that is known. */
  readonly crashes: number;
}

/** A request that this many replicas went away with is tried at no other. */
export const crashesMax = 2;

/** Whether another replica shall try: nothing was seen of the first, the fault is the engine's, and others may do better. */
export function mayTryAnother(error: WeirError, standing: Standing): boolean {
  // Another replica has the same model. What its answers cost is the caller's to spend.
  if (error.reason === ErrorReason.ANSWER_MISMATCH) return false;
  const { source, retry } = errorRow(error.reason);
  return (
    !standing.committed &&
    standing.attempts < standing.attemptsMax &&
    standing.crashes < crashesMax &&
    source === ErrorSource.ENGINE &&
    (retry === Retry.OTHER_REPLICA || retry === Retry.SAME)
  );
}

/** Whether the failure speaks against the replica, and not against the request. */
export function blamesReplica(error: WeirError): boolean {
  const { ENGINE_REFUSED, ANSWER_MISMATCH } = ErrorReason;
  if (error.reason === ENGINE_REFUSED || error.reason === ANSWER_MISMATCH) return false;
  return errorRow(error.reason).source === ErrorSource.ENGINE;
}

/** Whether the engine went away with the request: its connection broke, or its server says that the engine died. */
export function isDeath({ reason, facts }: WeirError): boolean {
  return reason === ErrorReason.ENGINE_UNAVAILABLE && facts["phase"] === "running";
}

const { ENGINE_FAILED, ENGINE_TIMEOUT, ENGINE_PROTOCOL, ENGINE_TRUNCATED, ANSWER_MISMATCH, ANSWER_TOO_LARGE } =
  ErrorReason;
const brokenOff: ReadonlySet<ErrorReason> = new Set([
  ENGINE_FAILED,
  ENGINE_TIMEOUT,
  ENGINE_PROTOCOL,
  ENGINE_TRUNCATED,
  ANSWER_MISMATCH,
  ANSWER_TOO_LARGE,
]);

/** Whether the engine had taken up the request, and lived when that ended: it may still die of it. */
export function brokeOff({ reason }: WeirError): boolean {
  return brokenOff.has(reason);
}

/** Whether the engine may have gone away: who ends an answer too early, and properly, mostly lives. */
export function looksLikeCrash(error: WeirError): boolean {
  return isDeath(error) || error.reason === ErrorReason.ENGINE_TRUNCATED;
}
