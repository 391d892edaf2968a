import { type Timestamp, timestampDate, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../errors/fail.ts";

/** When a key may be used, in milliseconds since the epoch: from `startMs` until before `expireMs`. */
export interface Validity {
  readonly startMs: number;
  readonly expireMs: number;
}

/** Reads a principal's times once, so that judging a request takes two comparisons. */
export function validityFrom(principal: Principal): Validity {
  return {
    startMs: principal.startTime ? timestampMs(principal.startTime) : Number.NEGATIVE_INFINITY,
    expireMs: principal.expireTime ? timestampMs(principal.expireTime) : Number.POSITIVE_INFINITY,
  };
}

/** The principal if its key may be used at `nowMs`, else why not. */
export function judge(principal: Principal, validity: Validity, nowMs: number): Principal | WeirError {
  if (nowMs < validity.startMs) {
    return fail(ErrorReason.KEY_NOT_YET_VALID, { key_id: principal.keyId, start_time: iso(principal.startTime) });
  }
  if (nowMs >= validity.expireMs) {
    return fail(ErrorReason.KEY_EXPIRED, { key_id: principal.keyId, expire_time: iso(principal.expireTime) });
  }
  return principal;
}

function iso(time: Timestamp | undefined): string {
  return time ? timestampDate(time).toISOString() : "";
}
