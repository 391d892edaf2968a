import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";

/** Long enough that a store which is overrun gets air, short enough that nobody's journal grows for it. */
const retryAfterMs = 1_000;

/** The store cannot answer now. */
export function unavailable(cause?: unknown): WeirError {
  const facts = { store: "usage store", retry_after_ms: String(retryAfterMs) };
  return fail(ErrorReason.STORE_UNAVAILABLE, facts, { cause, retryAfterMs });
}
