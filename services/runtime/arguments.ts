import { createHash } from "node:crypto";
import type { FieldMask } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "./errors/fail.ts";

/** A field that is not acceptable. `code` as in OpenAI's errors. */
export function invalid(param: string, problem: string, code = "invalid_value"): WeirError {
  return fail(ErrorReason.INVALID_ARGUMENT, { param, code, problem });
}

/** The fields that a mask names. Throws INVALID_ARGUMENT if there are none, or others than `known`. */
export function maskedFields<F extends string>(mask: FieldMask | undefined, known: readonly F[]): ReadonlySet<F> {
  const fields = new Set<F>();
  for (const path of mask?.paths ?? []) {
    const field = known.find((name) => name === path);
    if (field === undefined)
      throw invalid("update_mask", `\`${path}\` is no field that can be changed; those are ${known.join(", ")}`);
    fields.add(field);
  }
  if (fields.size === 0)
    throw invalid("update_mask", `it names no field; those that can be changed are ${known.join(", ")}`);
  return fields;
}

/** Throws INVALID_ARGUMENT for text that cannot be kept. */
export function checkText(param: string, text: string): void {
  if (text.includes("\0")) throw invalid(param, "it contains the character U+0000", "invalid_character");
}

/**
 * Equal for requests that ask for the same. Members may come in any order; what is undefined counts as absent.
 */
export function fingerprintOf(request: Readonly<Record<string, unknown>>): string {
  return createHash("sha256").update(JSON.stringify(request, sorted)).digest("base64url");
}

function sorted(_name: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
