import type { GrowingText, Reading } from "./growing-text.ts";
import { kindOf } from "./json-kinds.ts";
import { pythonJson } from "./python-literal.ts";

/** A longer value that has to be whole before it can be told is told as a string. */
const heldMax = 65_536;

/** Where a value ends, and what of the text around it is not part of it. */
export interface ValueBounds {
  /** What ends it, and is left to be read. */
  readonly ends: readonly string[];
  /** What JSON values it may be; undefined: any, of which a string if nothing else fits. */
  readonly kinds: ReadonlySet<string> | undefined;
}

/**
 * Reads a value that stands between markers without quotes, and tells it as JSON: a string as it comes, anything else
 * when it is whole. What is of none of the kinds that it may be is a string.
 *
 * @returns whether an end came.
 */
export function* typedValue(
  text: GrowingText,
  tell: (json: string) => void,
  { ends, kinds }: ValueBounds,
): Reading<boolean> {
  let held: string | undefined = "";
  const isText = kinds !== undefined && kinds.size === 1 && kinds.has("string");
  if (isText) beginString();
  const found = yield* text.until(ends, (piece) => {
    if (held === undefined) return tell(escaped(piece));
    held += piece;
    if (held.length > heldMax) beginString();
  });
  if (held === undefined) {
    if (found >= 0) tell('"');
  } else tell(found >= 0 ? jsonOf(held, kinds) : held);
  return found >= 0;

  function beginString(): void {
    tell(`"${escaped(held ?? "")}`);
    held = undefined;
  }
}

function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

const word = /^(?:true|false|null)$/i;

function jsonOf(written: string, kinds: ReadonlySet<string> | undefined): string {
  const trimmed = written.trim();
  // Of a single word the case says nothing; inside an object or a list it is the text's own.
  const json = parsed(word.test(trimmed) ? trimmed.toLowerCase() : trimmed) ?? parsed(pythonJson(trimmed) ?? "");
  if (json !== undefined) {
    const kind = kindOf(json.value);
    if (kinds === undefined ? kind !== "string" : fits(kind, json.value, kinds)) return json.text;
  }
  return JSON.stringify(written);
}

function parsed(text: string): { text: string; value: unknown } | undefined {
  try {
    return { text, value: JSON.parse(text) };
  } catch {
    // A text that is no JSON is a text.
    return undefined;
  }
}

function fits(kind: string, value: unknown, kinds: ReadonlySet<string>): boolean {
  return kinds.has(kind) || (kind === "number" && kinds.has("integer") && Number.isInteger(value));
}
