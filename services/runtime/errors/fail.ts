import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ErrorDetail, ErrorDetailSchema, ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { errorRow, type Metadata } from "./table.ts";

/** What else is known of a failure. */
export interface FailOptions {
  /** What brought it about. It is logged, and never leaves the process. */
  readonly cause?: unknown;
  /** How long the caller should wait before another try, in milliseconds. */
  readonly retryAfterMs?: number;
}

/** A failure with a reason: the only kind of error that crosses a room's wall. */
export class WeirError extends ConnectError {
  readonly reason: ErrorReason;
  readonly facts: Metadata;
  readonly retryAfterMs: number | undefined;

  constructor(reason: ErrorReason, facts: Metadata, options: FailOptions = {}) {
    const row = errorRow(reason);
    super(row.message(facts), row.code, undefined, undefined, options.cause);
    this.reason = reason;
    this.facts = facts;
    this.retryAfterMs = options.retryAfterMs;
    this.details = [{ desc: ErrorDetailSchema, value: detailOf(this) }];
  }

  // A ConnectError tells its kind by name and members, so that its subclasses would hold every ConnectError for one of
  // theirs. The name stays "ConnectError": by it connect-es knows that the message may be sent.
  static override [Symbol.hasInstance](value: unknown): value is WeirError {
    return (
      typeof value === "object" && value !== null && Object.prototype.isPrototypeOf.call(WeirError.prototype, value)
    );
  }
}

/**
 * The one door for errors: `throw fail(ErrorReason.NOT_FOUND, { resource: "key", id })`.
 * Everything variable in the message is in the metadata, and nothing in it that a tenant would mind.
 */
export function fail(reason: ErrorReason, metadata: Metadata = {}, options: FailOptions = {}): WeirError {
  return new WeirError(reason, metadata, options);
}

/** The failure as the contract carries it. */
export function detailOf(error: WeirError): ErrorDetail {
  const row = errorRow(error.reason);
  const detail = create(ErrorDetailSchema, {
    reason: error.reason,
    metadata: { ...error.facts },
    message: error.rawMessage,
    retry: row.retry,
    source: row.source,
  });
  if (error.retryAfterMs !== undefined) detail.retryAfter = durationFromMs(error.retryAfterMs);
  return detail;
}

/** Rebuilds the failure that a peer told by its detail. */
export function errorFromDetail(detail: ErrorDetail, cause?: unknown): WeirError {
  const after = detail.retryAfter;
  return new WeirError(detail.reason, detail.metadata, {
    cause,
    ...(after ? { retryAfterMs: Number(after.seconds) * 1000 + after.nanos / 1e6 } : {}),
  });
}

const reasonByCode: Partial<Record<Code, ErrorReason>> = {
  [Code.Canceled]: ErrorReason.CANCELLED,
  [Code.DeadlineExceeded]: ErrorReason.DEADLINE_EXCEEDED,
  [Code.Unavailable]: ErrorReason.SERVICE_UNAVAILABLE,
  [Code.Unimplemented]: ErrorReason.UNKNOWN_METHOD,
  [Code.ResourceExhausted]: ErrorReason.REQUEST_TOO_LARGE,
};

/**
 * Turns whatever was thrown into a failure with a reason. What has none (a defect, a raw driver or SQL error) becomes
 * INTERNAL: its text stays here, as the cause.
 */
export function weirErrorFrom(thrown: unknown): WeirError {
  if (thrown instanceof WeirError) return thrown;
  if (thrown instanceof ConnectError) {
    const [detail] = thrown.findDetails(ErrorDetailSchema);
    if (detail) return errorFromDetail(detail, thrown);
    if (thrown.code === Code.InvalidArgument) {
      return fail(
        ErrorReason.INVALID_ARGUMENT,
        { problem: thrown.rawMessage, code: "invalid_value" },
        { cause: thrown },
      );
    }
    return fail(reasonByCode[thrown.code] ?? ErrorReason.INTERNAL, {}, { cause: thrown });
  }
  if (thrown instanceof Error && thrown.name === "AbortError")
    return fail(ErrorReason.CANCELLED, {}, { cause: thrown });
  return fail(ErrorReason.INTERNAL, {}, { cause: thrown });
}
