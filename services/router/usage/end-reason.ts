import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";

const reasons: Partial<Record<ErrorReason, EndReason>> = {
  [ErrorReason.DEADLINE_EXCEEDED]: EndReason.DEADLINE,
  [ErrorReason.KEY_REVOKED]: EndReason.REVOKED,
  [ErrorReason.KEY_EXPIRED]: EndReason.REVOKED,
  [ErrorReason.RATE_LIMITED]: EndReason.LIMIT,
  [ErrorReason.BUDGET_EXHAUSTED]: EndReason.LIMIT,
  [ErrorReason.EXCEEDS_LIMIT]: EndReason.LIMIT,
  [ErrorReason.CANCELLED]: EndReason.CANCELLED,
  [ErrorReason.SLOW_READER]: EndReason.CANCELLED,
};

/** What the ledger calls the end of a request that ended for this reason; undefined: it ended well. */
export function endReasonOf(reason: ErrorReason | undefined): EndReason {
  if (reason === undefined) return EndReason.COMPLETED;
  return reasons[reason] ?? EndReason.FAILED;
}
