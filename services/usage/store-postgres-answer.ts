import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import { isUnavailable } from "../runtime/postgres/sqlstate.ts";
import { unavailable } from "./unavailable.ts";

/** The work's result. Its errors are told as reasons; what PostgreSQL said stays here, as their cause. */
export async function answered<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof WeirError) throw cause;
    if (!isUnavailable(cause)) throw fail(ErrorReason.INTERNAL, {}, { cause });
    throw unavailable(cause);
  }
}
