import { type DescEnum, type DescField, ScalarType } from "@bufbuild/protobuf";

/** A value in the JSON form of protobuf, or why it has none. */
export type Converted = { readonly json: string | number | boolean } | { readonly problem: string };

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `500ms`, `10s`, `2m`, `1h` as protobuf's JSON has it: seconds. */
export function durationJson(value: unknown): Converted {
  const match = typeof value === "string" ? /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value) : null;
  if (match === null) return { problem: 'write a time with its unit, such as "500ms", "10s", "2m" or "1h"' };
  const ms = Number(match[1]) * (unitMs[match[2] ?? ""] ?? 0);
  return { json: `${(ms / 1000).toFixed(9).replace(/\.?0+$/, "")}s` };
}

/** The names of an enum's values as the file has them: `triton` for DIALECT_TRITON. */
function enumNames(desc: DescEnum): readonly { readonly short: string; readonly full: string }[] {
  const prefix = desc.sharedPrefix?.length ?? 0;
  return desc.values
    .filter((value) => value.number !== 0)
    .map((value) => ({ short: value.name.slice(prefix).toLowerCase(), full: value.name }));
}

/** An enum's value by its short name. */
export function enumJson(desc: DescEnum, value: unknown): Converted {
  const names = enumNames(desc);
  const found = names.find((name) => name.short === value);
  return found ? { json: found.full } : { problem: `must be one of: ${names.map((name) => name.short).join(", ")}` };
}

/** The number of an enum's value by its short name. */
export function enumValue(desc: DescEnum, value: unknown): number | { readonly problem: string } {
  const found = enumJson(desc, value);
  if ("problem" in found) return found;
  return desc.values.find(({ name }) => name === found.json)?.number ?? 0;
}

const integers: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT32,
  ScalarType.INT64,
  ScalarType.UINT32,
  ScalarType.UINT64,
]);

/** A scalar of the file in the JSON form of its field's type. */
export function scalarJson(type: ScalarType, value: unknown): Converted {
  if (type === ScalarType.STRING)
    return typeof value === "string" ? { json: value } : { problem: "must be a text; put it in quotes" };
  if (type === ScalarType.BOOL)
    return typeof value === "boolean" ? { json: value } : { problem: "must be true or false" };
  if (integers.has(type)) {
    const whole = typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
    if (!whole) return { problem: "must be a whole number" };
    const wide = type === ScalarType.INT64 || type === ScalarType.UINT64;
    const [low, high] = wide ? [-(2n ** 63n), 2n ** 63n - 1n] : [-(2n ** 31n), 2n ** 31n - 1n];
    const exact = BigInt(value);
    if (exact < low || exact > high) return { problem: `must be between ${low} and ${high}` };
    return { json: wide ? exact.toString() : Number(exact) };
  }
  return typeof value === "number" && Number.isFinite(value) ? { json: value } : { problem: "must be a number" };
}

/** The file's key of a field: its name in the contract. */
export function keyOf(field: DescField): string {
  return field.name;
}
