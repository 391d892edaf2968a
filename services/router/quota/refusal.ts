import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Dimension, type Subject, SubjectKind } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type Denial, DenialReason } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { msOf } from "./held-lease.ts";

/** A store that is back is noticed this soon. */
const storeRetryMs = 1_000;
/** Where a place is waited for nobody knows when one comes free. */
const placeRetryMs = 1_000;

const dimensions: Readonly<Record<Dimension, string>> = {
  [Dimension.UNSPECIFIED]: "requests",
  [Dimension.REQUESTS]: "requests",
  [Dimension.INPUT_TOKENS]: "input tokens",
  [Dimension.OUTPUT_TOKENS]: "output tokens",
  [Dimension.TOTAL_TOKENS]: "tokens",
  [Dimension.CONCURRENT_REQUESTS]: "concurrent requests",
  [Dimension.COST]: "cost",
};

const kinds: Readonly<Record<SubjectKind, string>> = {
  [SubjectKind.UNSPECIFIED]: "your key",
  [SubjectKind.INSTALLATION]: "this installation",
  [SubjectKind.ORG]: "organisation",
  [SubjectKind.PROJECT]: "project",
  [SubjectKind.USER]: "user",
  [SubjectKind.KEY]: "key",
};

/** What a caller is told of a limit that refused. */
export function refusalOf(denial: Denial, nowWallMs: number): WeirError {
  const retryAfterMs = Math.ceil(msOf(denial.retryAfter)) || placeRetryMs;
  const limit = {
    limit_id: denial.limitId,
    subject: subjectName(denial.subject),
    dimension: dimensions[denial.dimension] ?? "requests",
    limit: String(denial.ceiling),
  };
  switch (denial.reason) {
    case DenialReason.BUDGET: {
      const resetTime = denial.resetTime && new Date(msOf(denial.resetTime)).toISOString();
      return fail(ErrorReason.BUDGET_EXHAUSTED, resetTime ? { ...limit, reset_time: resetTime } : limit);
    }
    case DenialReason.NEVER_FITS:
      return fail(ErrorReason.EXCEEDS_LIMIT, { ...limit, needed: String(denial.needed) });
    case DenialReason.UNCHECKED:
      return uncheckable();
    default: {
      const remaining = denial.remaining > 0n ? denial.remaining : 0n;
      const resetAfterMs = denial.resetTime && Math.max(0, Math.ceil(msOf(denial.resetTime) - nowWallMs));
      const facts = {
        ...limit,
        remaining: String(remaining),
        retry_after_ms: String(retryAfterMs),
        ...(resetAfterMs === undefined ? {} : { reset_after_ms: String(resetAfterMs) }),
      };
      return fail(ErrorReason.RATE_LIMITED, facts, { retryAfterMs });
    }
  }
}

/** A limit that has to be checked can't be: that says nothing of whether it is reached. */
export function uncheckable(cause?: unknown): WeirError {
  const facts = { store: "quota store", retry_after_ms: String(storeRetryMs) };
  return fail(ErrorReason.STORE_UNAVAILABLE, facts, { retryAfterMs: storeRetryMs, cause });
}

function subjectName(subject: Subject | undefined): string {
  const kind = kinds[subject?.kind ?? SubjectKind.UNSPECIFIED] ?? "your key";
  return subject?.id ? `${kind} ${subject.id}` : kind;
}
