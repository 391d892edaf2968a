import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";

/** `error.code` of a member that breaks a rule, in the words that OpenAI's API uses. */
export type ViolationCode =
  | "missing_required_parameter"
  | "unknown_parameter"
  | "conflicting_parameters"
  | "invalid_type"
  | "invalid_value"
  | "invalid_tool_call_id"
  | "invalid_token_id"
  | "url_not_allowed"
  | "integer_below_min_value"
  | "integer_above_max_value"
  | "decimal_below_min_value"
  | "decimal_above_max_value"
  | "string_below_min_length"
  | "string_above_max_length"
  | "array_below_min_length"
  | "array_above_max_length"
  | "object_above_max_properties";

/** The refusal of a request for one of its members. The problem is the end of a sentence, and quotes no content. */
export function invalid(param: string, code: ViolationCode, problem: string): WeirError {
  return fail(ErrorReason.INVALID_ARGUMENT, { param: param.slice(0, paramLengthMax), code, problem });
}

/** The refusal of what no model here offers, or not over this API. */
export function unsupported(param: string, feature: string, model: string): WeirError {
  return fail(ErrorReason.UNSUPPORTED, { param: param.slice(0, paramLengthMax), feature, model });
}

/** A path may hold names that the caller chose: an error is no place for a long one. */
const paramLengthMax = 256;
