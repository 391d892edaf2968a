import { GrowingText, isWordPart, type Reading } from "./growing-text.ts";

/** Deeper literals are no function's arguments. */
const depthMax = 128;
/** A longer number or word is none. */
const wordMax = 512;

const words: ReadonlyMap<string, string> = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
  // What JSON calls them, models write as well.
  ["true", "true"],
  ["false", "false"],
  ["null", "null"],
]);

/**
 * Reads a Python literal and tells it as JSON, as it comes: strings, numbers, True, False, None, lists, tuples and
 * dictionaries with strings as keys.
 *
 * @returns whether it was one.
 */
export function* pythonValue(text: GrowingText, tell: (json: string) => void, depth = 0): Reading<boolean> {
  const first = yield* text.peek();
  if (depth > depthMax) return false;
  if (first === "'" || first === '"') return yield* quoted(text, tell);
  const close = brackets.get(first);
  return close === undefined ? yield* word(text, tell) : yield* members(text, tell, depth, close);
}

const brackets: ReadonlyMap<string, string> = new Map([
  ["[", "]"],
  ["(", ")"],
  ["{", "}"],
]);

function* members(text: GrowingText, tell: (json: string) => void, depth: number, close: string): Reading<boolean> {
  const isDictionary = close === "}";
  text.skip();
  tell(isDictionary ? "{" : "[");
  for (let count = 0; ; count++) {
    yield* text.space();
    if (yield* text.accept(close)) break;
    // A comma may stand after the last one: it is told when another comes.
    if (count > 0) tell(", ");
    if (isDictionary) {
      const key = yield* text.peek();
      if ((key !== "'" && key !== '"') || !(yield* quoted(text, tell))) return false;
      yield* text.space();
      if (!(yield* text.accept(":"))) return false;
      tell(": ");
      yield* text.space();
    }
    if (!(yield* pythonValue(text, tell, depth + 1))) return false;
    yield* text.space();
    if (yield* text.accept(",")) continue;
    if (yield* text.accept(close)) break;
    return false;
  }
  tell(isDictionary ? "}" : "]");
  return true;
}

function* quoted(text: GrowingText, tell: (json: string) => void): Reading<boolean> {
  const quote = yield* text.peek();
  text.skip();
  tell('"');
  const plain = (character: string) => character !== quote && character !== "\\";
  for (;;) {
    const next = yield* text.peek();
    if (next === "") return false;
    if (next === quote) {
      text.skip();
      tell('"');
      return true;
    }
    if (next === "\\") {
      text.skip();
      const spoken = yield* escape(text);
      if (spoken === undefined) return false;
      tell(spoken);
    } else tell(JSON.stringify(yield* text.run(plain)).slice(1, -1));
  }
}

const letters: ReadonlyMap<string, string> = new Map([
  ["n", "\\n"],
  ["t", "\\t"],
  ["r", "\\r"],
  ["b", "\\b"],
  ["f", "\\f"],
  ["a", "\\u0007"],
  ["v", "\\u000b"],
  ["0", "\\u0000"],
  ["'", "'"],
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\n", ""],
]);
const digits: ReadonlyMap<string, number> = new Map([
  ["x", 2],
  ["u", 4],
  ["U", 8],
]);

/** What an escape says, as JSON writes it; one that Python does not know says itself. */
function* escape(text: GrowingText): Reading<string | undefined> {
  const letter = yield* text.peek();
  if (letter === "") return undefined;
  text.skip();
  const count = digits.get(letter);
  if (count === undefined) return letters.get(letter) ?? `\\\\${letter}`;
  let code = "";
  while (code.length < count) {
    const digit = yield* text.peek();
    if (!/^[0-9a-fA-F]$/.test(digit)) return undefined;
    code += digit;
    text.skip();
  }
  const point = Number.parseInt(code, 16);
  // As an escape again: half a character of two has no text of its own.
  if (point <= 0xffff) return `\\u${point.toString(16).padStart(4, "0")}`;
  return point <= 0x10_ffff ? String.fromCodePoint(point) : undefined;
}

function* word(text: GrowingText, tell: (json: string) => void): Reading<boolean> {
  let found = "";
  for (;;) {
    const next = yield* text.run(isWordPart);
    if (next === "" || found.length > wordMax) break;
    found += next;
  }
  const json = words.get(found) ?? numberOf(found);
  tell(json ?? found);
  return json !== undefined && !(text.cut && (yield* text.over()));
}

/** A number as JSON writes it: Python also knows 1_000, .5, 5. and +5. */
function numberOf(written: string): string | undefined {
  const found = /^([-+]?)(\d[\d_]*|)(?:\.(\d[\d_]*|))?([eE][-+]?\d+)?$/.exec(written);
  const [, sign, whole = "", part = "", exponent = ""] = found ?? [];
  if (!found || whole + part === "") return undefined;
  const digitsOf = (text: string) => text.replaceAll("_", "");
  const integer = digitsOf(whole).replace(/^0+(?=\d)/, "") || "0";
  return `${sign === "-" ? "-" : ""}${integer}${part === "" ? "" : `.${digitsOf(part)}`}${exponent}`;
}

/** A whole text that is a Python literal, as JSON; undefined: it is none. */
export function pythonJson(written: string): string | undefined {
  const text = new GrowingText();
  text.append(written);
  text.end(false);
  let json = "";
  const reading = pythonValue(text, (piece) => void (json += piece)).next();
  const after = text.over().next();
  return reading.done === true && reading.value && after.done === true && after.value ? json : undefined;
}
