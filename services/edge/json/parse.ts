import { isUtf8 } from "node:buffer";
import { type JsonProblem, scanJson } from "./scan.ts";

export type { JsonProblem } from "./scan.ts";

/** A value that `JSON.parse` makes. Only the top-level member `seed` may be a bigint. */
export type JsonValue = null | boolean | number | bigint | string | readonly JsonValue[] | JsonObject;

export interface JsonObject {
  readonly [member: string]: JsonValue;
}

/** The object of a request body, or why it is refused. */
export type ParsedJson = { readonly value: JsonObject } | JsonProblem;

const invalidJson: JsonProblem = { code: "invalid_json", problem: "the body is not valid JSON" };

/**
 * Parses a request body: one JSON object in UTF-8, with or without a byte order mark. What two readers could read in two
 * ways is refused, and nothing is changed in silence: `seed` keeps all its 64 bits, as a bigint where a double would not.
 */
export function parseJsonObject(body: Buffer): ParsedJson {
  if (!isUtf8(body)) return { code: "invalid_utf8", problem: "the body is not valid UTF-8" };
  const marked = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf;
  const bytes = marked ? body.subarray(3) : body;
  const scan = scanJson(bytes);
  if ("code" in scan) return scan;

  let value: JsonValue;
  try {
    value = JSON.parse(bytes.toString("utf8")) as JsonValue;
  } catch {
    // The parser's message quotes the body, which belongs in no error: the caller can run it through any parser.
    return invalidJson;
  }
  if (!isJsonObject(value)) return { code: "invalid_type", problem: "the body must be a JSON object" };
  return (
    check(value, scan.keys, scan.surrogates) ?? {
      value: scan.seed === undefined ? value : { ...value, seed: scan.seed },
    }
  );
}

/** Whether a JSON value is an object, and neither an array nor null. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function check(value: JsonObject, keys: number, surrogates: boolean): JsonProblem | undefined {
  const found: Found = { keys: 0, forbidden: undefined, illFormed: false };
  visit(value, surrogates, found);
  if (found.forbidden !== undefined) {
    return { code: "unknown_parameter", problem: "no object may have this member", param: found.forbidden };
  }
  if (found.illFormed) return { code: "invalid_unicode", problem: "a \\u escape is half of a surrogate pair" };
  // A repeated name leaves one member of several.
  if (found.keys !== keys) return { code: "duplicate_key", problem: "an object has two members of one name" };
  return undefined;
}

interface Found {
  keys: number;
  forbidden: string | undefined;
  illFormed: boolean;
}

/** Counts members, and looks at names and strings. The depth was bounded by the scan. */
function visit(value: JsonObject | readonly JsonValue[], surrogates: boolean, found: Found): void {
  if (isArray(value)) {
    for (const item of value) visitValue(item, surrogates, found);
    return;
  }
  for (const name in value) {
    found.keys++;
    // Assigned by careless code behind us, it would replace a prototype.
    if (name === "__proto__" || (name === "constructor" && reachesPrototype(value[name]))) found.forbidden = name;
    if (surrogates && !name.isWellFormed()) found.illFormed = true;
    visitValue(value[name]!, surrogates, found);
  }
}

function visitValue(value: JsonValue, surrogates: boolean, found: Found): void {
  if (typeof value === "object") {
    if (value !== null) visit(value, surrogates, found);
  } else if (surrogates && typeof value === "string" && !value.isWellFormed()) {
    found.illFormed = true;
  }
}

function reachesPrototype(value: JsonValue | undefined): boolean {
  return isJsonObject(value) && Object.hasOwn(value, "prototype");
}

function isArray(value: JsonObject | readonly JsonValue[]): value is readonly JsonValue[] {
  return Array.isArray(value);
}
