import { RE2JS } from "@bufbuild/re2";

/** A pattern that is tried in time that grows with the text, and with nothing else. */
export interface LinearPattern {
  /** Whether the pattern is found anywhere in the text. */
  test(text: string): boolean;
}

/** A longer pattern is refused. */
const lengthMax = 4_096;

/**
 * Compiles a pattern as JSON Schema has them (ECMA-262, with `u`) for an engine that does not backtrack. Returns what is
 * wrong with it: besides what is no pattern, look-around, back references, counts over 1,000 and long names of properties.
 */
export function linearPattern(source: string): LinearPattern | string {
  if (source.length > lengthMax) return `is longer than ${lengthMax} characters`;
  const translated = translate(source);
  if (!translated)
    return "is a pattern that can't be checked here (no look-around, back references, flags or rare escapes)";
  try {
    return new RE2JS(translated.pattern);
  } catch {
    // The engine's own words quote the pattern as it was translated.
    return "is no pattern that can be checked here (no look-around or back references, counts up to 1,000)";
  }
}

/** As ECMA-262 has them; the engine's own are of ASCII. */
const space = "\\t-\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}";
const lineEnds = "\\n\\r\\x{2028}\\x{2029}";

/** What begins a group; everything else that begins with `(?` looks around, or sets flags. */
const groupForm = /\(\?(?::|<[A-Za-z_]\w{0,31}>)/y;
const unicodeForm =
  /\\u(?:([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|([0-9a-fA-F]{4})|\{([0-9a-fA-F]{1,6})\})/y;
const keptForm = /\\(?:[dDwWnrtfv]|x[0-9a-fA-F]{2}|[pP]\{[\w=]{1,64}\}|[^A-Za-z0-9])/uy;

interface Translated {
  readonly pattern: string;
}

function translate(source: string): Translated | undefined {
  let pattern = "";
  let inClass = false;
  let at = 0;
  while (at < source.length) {
    const character = String.fromCodePoint(source.codePointAt(at) ?? 0);
    if (character === "\\") {
      const found = translateEscape(source, at, inClass);
      if (!found) return undefined;
      pattern += found.pattern;
      at += found.length;
      continue;
    }
    if (character === "(" && !inClass && source[at + 1] === "?" && !matchAt(groupForm, source, at)) return undefined;
    if (character === "." && !inClass) pattern += `[^${lineEnds}]`;
    // Here a bracket inside a class is a character; the engine would take [:alpha:] for a class of its own.
    else if (character === "[" && inClass) pattern += "\\[";
    else pattern += character;
    if (character === "[") inClass = true;
    else if (character === "]") inClass = false;
    at += character.length;
  }
  return { pattern };
}

function translateEscape(source: string, at: number, inClass: boolean): (Translated & { length: number }) | undefined {
  const unicode = matchAt(unicodeForm, source, at);
  if (unicode) {
    const [all, high, low, four, braced] = unicode;
    const code = high && low ? codeOfPair(high, low) : Number.parseInt(four ?? braced ?? "", 16);
    return code > 0x10ffff ? undefined : { pattern: `\\x{${code.toString(16)}}`, length: all.length };
  }
  const kept = matchAt(keptForm, source, at);
  if (kept) return { pattern: kept[0], length: kept[0].length };
  const two = (pattern: string) => ({ pattern, length: 2 });
  switch (source[at + 1]) {
    case "s":
      return two(inClass ? space : `[${space}]`);
    case "S":
      return inClass ? undefined : two(`[^${space}]`);
    case "b":
      return two(inClass ? "\\x08" : "\\b");
    case "B":
      return inClass ? undefined : two("\\B");
    case "0":
      return /\d/.test(source[at + 2] ?? "") ? undefined : two("\\x00");
    default:
      return undefined;
  }
}

function matchAt(form: RegExp, source: string, at: number): RegExpExecArray | null {
  form.lastIndex = at;
  return form.exec(source);
}

function codeOfPair(high: string, low: string): number {
  return ((Number.parseInt(high, 16) - 0xd800) << 10) + (Number.parseInt(low, 16) - 0xdc00) + 0x10000;
}
