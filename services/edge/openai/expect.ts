import { isJsonObject, type JsonObject, type JsonValue } from "../json/parse.ts";
import { invalid } from "./invalid.ts";

// Each reads a value that must be of one type and within bounds, or throws INVALID_ARGUMENT with the member's path.

export function expectString(value: JsonValue, param: string, lengthMax: number, lengthMin = 0): string {
  if (typeof value !== "string") throw wrongType(value, param, "a string");
  if (value.length < lengthMin) {
    throw invalid(
      param,
      "string_below_min_length",
      lengthMin === 1 ? "must not be empty" : `must have at least ${lengthMin} characters`,
    );
  }
  if (value.length > lengthMax)
    throw invalid(param, "string_above_max_length", `must have at most ${lengthMax} characters`);
  return value;
}

/** 1.0 is an integer: JSON does not tell the two apart. */
export function expectInteger(value: JsonValue, param: string, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw wrongType(value, param, "an integer");
  if (value < min) throw invalid(param, "integer_below_min_value", `must be at least ${min}`);
  if (value > max) throw invalid(param, "integer_above_max_value", `must be at most ${max}`);
  return value;
}

const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;

export function expectInt64(value: JsonValue, param: string): bigint {
  if (typeof value !== "bigint" && !Number.isInteger(value)) throw wrongType(value, param, "an integer");
  const exact = BigInt(value as bigint | number);
  if (exact < int64Min) throw invalid(param, "integer_below_min_value", `must be at least ${int64Min}`);
  if (exact > int64Max) throw invalid(param, "integer_above_max_value", `must be at most ${int64Max}`);
  return exact;
}

export function expectDecimal(value: JsonValue, param: string, min: number, max: number): number {
  if (typeof value !== "number") throw wrongType(value, param, "a number");
  if (value < min) throw invalid(param, "decimal_below_min_value", `must be at least ${min}`);
  if (value > max) throw invalid(param, "decimal_above_max_value", `must be at most ${max}`);
  return value;
}

/** As {@link expectDecimal}, and 0 itself is too small. */
export function expectPositiveDecimal(value: JsonValue, param: string, max: number): number {
  const decimal = expectDecimal(value, param, 0, max);
  if (decimal === 0) throw invalid(param, "decimal_below_min_value", "must be above 0");
  return decimal;
}

export function expectBoolean(value: JsonValue, param: string): boolean {
  if (typeof value !== "boolean") throw wrongType(value, param, "a boolean");
  return value;
}

export function expectArray(value: JsonValue, param: string, itemsMax: number, itemsMin = 0): readonly JsonValue[] {
  if (!Array.isArray(value)) throw wrongType(value, param, "an array");
  const items = value as readonly JsonValue[];
  if (items.length < itemsMin) throw invalid(param, "array_below_min_length", `must have at least ${itemsMin} item`);
  if (items.length > itemsMax) throw invalid(param, "array_above_max_length", `must have at most ${itemsMax} items`);
  return items;
}

export function expectObject(value: JsonValue | undefined, param: string): JsonObject {
  if (value === undefined) throw missing(param);
  if (!isJsonObject(value)) throw wrongType(value, param, "an object");
  return value;
}

export function expectOneOf<T extends string>(value: JsonValue, param: string, allowed: readonly T[]): T {
  if (typeof value !== "string") throw wrongType(value, param, "a string");
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw invalid(param, "invalid_value", `must be one of ${allowed.join(", ")}`);
  return found;
}

/** A member that must be there: null stands for its absence. */
export function required(object: JsonObject, member: string, param: string): Exclude<JsonValue, null> {
  const value = object[member];
  if (value === undefined || value === null) throw missing(param);
  return value as Exclude<JsonValue, null>;
}

/** A member that may be absent: null stands for its absence. */
export function optional(object: JsonObject, member: string): Exclude<JsonValue, null> | undefined {
  return (object[member] ?? undefined) as Exclude<JsonValue, null> | undefined;
}

export function missing(param: string): Error {
  return invalid(param, "missing_required_parameter", "is required");
}

export function wrongType(value: JsonValue, param: string, wanted: string): Error {
  return invalid(param, "invalid_type", `must be ${wanted}, not ${typeNameOf(value)}`);
}

function typeNameOf(value: JsonValue): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  switch (typeof value) {
    case "boolean":
      return "a boolean";
    case "string":
      return "a string";
    case "object":
      return "an object";
    default:
      return Number.isInteger(value) || typeof value === "bigint" ? "an integer" : "a decimal";
  }
}
