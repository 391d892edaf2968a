import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";

/** A JSON object of whose members nothing is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses what an engine sent; undefined if it is no JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // What an engine sends may be anything; the caller of this says what it made of it.
    return undefined;
  }
}

/** Parses JSON that a request carries as text. Throws INVALID_ARGUMENT with the member's name. */
export function jsonMember(text: string, param: string): unknown {
  const value = parsed(text);
  if (value !== undefined) return value;
  throw fail(ErrorReason.INVALID_ARGUMENT, { param, code: "invalid_json", problem: "it is not JSON" });
}

/** Parses a JSON object that a request carries as text; empty text is an empty object. */
export function jsonObjectMember(text: string, param: string): JsonObject {
  if (text === "") return {};
  const value = jsonMember(text, param);
  if (isObject(value)) return value;
  throw fail(ErrorReason.INVALID_ARGUMENT, { param, code: "invalid_type", problem: "it is not a JSON object" });
}
