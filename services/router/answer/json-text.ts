import { type GrowingText, isSpace, isWordPart, type Reading } from "./growing-text.ts";

/** Deeper JSON is no function's arguments. */
const depthMax = 128;
/** A longer number or word is none. */
const wordMax = 512;

/**
 * Reads a JSON value and tells its text as it comes. Control characters inside strings, which models write and JSON
 * forbids, are told as escapes.
 *
 * @returns whether it was one: if not, reading stopped at what is wrong, or at the end.
 */
export function* jsonValue(text: GrowingText, tell: (json: string) => void, depth = 0): Reading<boolean> {
  const first = yield* text.peek();
  if (depth > depthMax) return false;
  if (first === "{") return yield* members(text, tell, depth, "}");
  if (first === "[") return yield* members(text, tell, depth, "]");
  if (first === '"') return yield* quoted(text, tell);
  return yield* word(text, tell);
}

/** The members of an object or an array, with their brackets. */
function* members(text: GrowingText, tell: (json: string) => void, depth: number, close: "}" | "]"): Reading<boolean> {
  tell(close === "}" ? "{" : "[");
  text.skip();
  yield* gap(text, tell);
  if (yield* mark(text, tell, close)) return true;
  for (;;) {
    if (close === "}") {
      if ((yield* text.peek()) !== '"' || !(yield* quoted(text, tell))) return false;
      yield* gap(text, tell);
      if (!(yield* mark(text, tell, ":"))) return false;
      yield* gap(text, tell);
    }
    if (!(yield* jsonValue(text, tell, depth + 1))) return false;
    yield* gap(text, tell);
    if (yield* mark(text, tell, close)) return true;
    if (!(yield* mark(text, tell, ","))) return false;
    yield* gap(text, tell);
  }
}

function* gap(text: GrowingText, tell: (json: string) => void): Reading<void> {
  for (;;) {
    const space = yield* text.run(isSpace);
    if (space === "") return;
    tell(space);
  }
}

function* mark(text: GrowingText, tell: (json: string) => void, wanted: string): Reading<boolean> {
  if ((yield* text.peek()) !== wanted) return false;
  text.skip();
  tell(wanted);
  return true;
}

function* quoted(text: GrowingText, tell: (json: string) => void): Reading<boolean> {
  text.skip();
  tell('"');
  for (;;) {
    const next = yield* text.peek();
    if (next === "") return false;
    if (next === '"') {
      text.skip();
      tell('"');
      return true;
    }
    if (next === "\\") {
      if (!(yield* escape(text, tell))) return false;
    } else if (next < " ") {
      text.skip();
      tell(JSON.stringify(next).slice(1, -1));
    } else tell(yield* text.run(isPlain));
  }
}

/** Whether a string of JSON may hold the character as it is. */
function isPlain(character: string): boolean {
  return character !== '"' && character !== "\\" && character >= " ";
}

/** Escapes of one letter, as they are written. */
const escapes = ['\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"];

function* escape(text: GrowingText, tell: (json: string) => void): Reading<boolean> {
  for (const known of escapes) {
    if (!(yield* text.accept(known))) continue;
    tell(known);
    return true;
  }
  if (!(yield* text.accept("\\u"))) return false;
  let written = "\\u";
  while (written.length < 6) {
    const digit = yield* text.peek();
    if (!/^[0-9a-fA-F]$/.test(digit)) break;
    written += digit;
    text.skip();
  }
  tell(written);
  return written.length === 6;
}

function* word(text: GrowingText, tell: (json: string) => void): Reading<boolean> {
  let found = "";
  for (;;) {
    const next = yield* text.run(isWordPart);
    if (next === "" || found.length > wordMax) break;
    found += next;
  }
  tell(found);
  return (
    /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)$/.test(found) &&
    !(text.cut && (yield* text.over()))
  );
}

/** Reads a JSON string and gives what it says; undefined: it is none, or too long. */
export function* jsonString(text: GrowingText, charactersMax: number): Reading<string | undefined> {
  if ((yield* text.peek()) !== '"') return undefined;
  let json = "";
  const whole = yield* quoted(text, (piece) => {
    if (json.length <= charactersMax) json += piece;
  });
  if (!whole || json.length > charactersMax) return undefined;
  return contentOf(json.slice(1, -1));
}

/** What a part of a JSON string says; as it is written where that breaks off. */
function contentOf(written: string): string {
  try {
    return String(JSON.parse(`"${written}"`));
  } catch {
    // Half an escape, at the end of the text.
    return written;
  }
}

/**
 * Reads a JSON string and tells what it says as it comes: some models write arguments as JSON inside a string.
 *
 * @returns whether it was one.
 */
export function* jsonStringContent(text: GrowingText, tell: (content: string) => void): Reading<boolean> {
  // Escapes of one character outside the basic plane come as two: the first waits for the second.
  let high = "";
  const spoken = (content: string) => {
    const whole = high + content;
    high = /[\ud800-\udbff]$/.test(whole) ? whole.slice(-1) : "";
    tell(whole.slice(0, whole.length - high.length));
  };
  let opened = false;
  let closed = false;
  const whole = yield* quoted(text, (piece) => {
    if (!opened) opened = true;
    else if (piece === '"') closed = true;
    else spoken(contentOf(piece));
  });
  if (high !== "") tell(high);
  return whole && closed;
}
