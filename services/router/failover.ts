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
  /** Engines that went away with the request, or with another one that asked for the same. */
  readonly crashes: number;
}

/** One request may take down at most this many replicas before it is suspected itself. */
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

/** Whether the engine went away with the request, whose first token it may not have come to. */
export function looksLikeCrash(error: WeirError, accepted: boolean): boolean {
  const { ENGINE_UNAVAILABLE, ENGINE_TRUNCATED } = ErrorReason;
  if (error.reason === ENGINE_UNAVAILABLE) return accepted || error.facts["phase"] === "running";
  return error.reason === ENGINE_TRUNCATED;
}
