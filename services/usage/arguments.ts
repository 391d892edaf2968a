import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";

/** A field that is not acceptable. */
export function invalid(param: string, problem: string): WeirError {
  return fail(ErrorReason.INVALID_ARGUMENT, { param, code: "invalid_value", problem });
}
