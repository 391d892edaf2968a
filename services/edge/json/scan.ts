/**
 * One pass over the bytes of a JSON text before `JSON.parse` sees them. It bounds what parsing may cost and finds what
 * the parser would change in silence: integers that a double cannot hold, numbers that become infinite, escapes that
 * make no character. It does not check the grammar: that is the parser's own work.
 */

/** Why a text is refused before it is parsed. The code is that of the error body. */
export interface JsonProblem {
  readonly code: JsonProblemCode;
  /** What is wrong, as the end of a sentence. */
  readonly problem: string;
  /** The member at fault, where there is one. */
  readonly param?: string;
}

export type JsonProblemCode =
  | "invalid_json"
  | "invalid_utf8"
  | "invalid_unicode"
  | "invalid_type"
  | "invalid_number"
  | "integer_out_of_range"
  | "duplicate_key"
  | "json_too_deep"
  | "json_too_complex"
  | "unknown_parameter";

/** What the pass found in a text that may be parsed. */
export interface JsonScan {
  /** Members of all objects: as many as the parsed value must have. */
  readonly keys: number;
  /** Some \u escape is one half of a surrogate pair: the parsed strings must be looked at. */
  readonly surrogates: boolean;
  /** The integer at the top-level member `seed`, if a double cannot hold it. */
  readonly seed: bigint | undefined;
}

/** Deeper than any schema in use; recursion over the parsed value stays small. */
const depthMax = 64;
/** V8 takes 30 ms for 49,152 different keys, and far longer where their hashes collide: 5,000 in one object bound that, and are what a schema may have. */
const keysMax = 49_152;
const keysPerObjectMax = 5_000;
/** An empty object costs 70 bytes and 0.1 us: 2 bytes of text each would make 8 MiB cost a second. */
const containersMax = 131_072;
/** The longest prompts in token ids. */
const valuesMax = 524_288;

/** The body's members that hold schemas, where we read no integer: clients write the bounds of 64 bits there. A double does for a bound. */
const holdsSchemas: ReadonlySet<string> = new Set([
  "functions",
  "guided_json",
  "response_format",
  "structured_outputs",
  "tools",
]);
/** Longer names are no members that are known. */
const nameMax = 64;

/** Members so far of the object at each depth. Only the running pass uses it, and each sets what it reads. */
const members = new Int32Array(depthMax + 1);

const tooComplex = (problem: string): JsonProblem => ({ code: "json_too_complex", problem });

/** Looks at each byte once. The bytes must be valid UTF-8. */
export function scanJson(bytes: Buffer): JsonScan | JsonProblem {
  const end = bytes.length;
  let depth = 0;
  let keys = 0;
  let containers = 0;
  let commas = 0;
  let surrogates = false;
  let seed: bigint | undefined;
  let stringStart = 0;
  let stringEnd = 0;
  /** Where the name of the body's own member stands, inside of which we are. */
  let memberStart = 0;
  let memberEnd = 0;
  for (let at = 0; at < end; at++) {
    switch (bytes[at]) {
      case 0x22: {
        stringStart = at + 1;
        let byte = bytes[++at];
        while (byte !== 0x22 && at < end) {
          // Half of a pair is \ud8.. to \udf..: "u", then "d" or "D".
          if (byte === 0x5c && bytes[++at] === 0x75 && (bytes[at + 1] === 0x64 || bytes[at + 1] === 0x44))
            surrogates = true;
          byte = bytes[++at];
        }
        stringEnd = at;
        break;
      }
      case 0x3a: // :
        keys++;
        if (depth === 1) {
          memberStart = stringStart;
          memberEnd = stringEnd;
        }
        if (++members[depth]! > keysPerObjectMax)
          return tooComplex(`an object has more than ${keysPerObjectMax} members`);
        if (keys > keysMax) return tooComplex(`it has more than ${keysMax} members`);
        break;
      case 0x2c: // ,
        if (++commas > valuesMax) return tooComplex(`it has more than ${valuesMax} values`);
        break;
      case 0x7b: // {
      case 0x5b: // [
        if (++depth > depthMax) return { code: "json_too_deep", problem: `it is nested deeper than ${depthMax}` };
        if (++containers > containersMax) return tooComplex(`it has more than ${containersMax} objects and arrays`);
        members[depth] = 0;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        if (depth > 0) depth--;
        break;
      case 0x4e: // N
      case 0x49: // I
        if (isWord(bytes, at, "NaN") || isWord(bytes, at, "Infinity")) {
          return { code: "invalid_number", problem: "NaN and Infinity are no JSON numbers" };
        }
        break;
      default: {
        if (!isNumberStart(bytes[at]!)) break;
        const start = at;
        let plain = true;
        let exponent = false;
        for (let byte = bytes[at + 1]!; at + 1 < end && isNumberByte(byte); byte = bytes[at + 1]!) {
          at++;
          if (byte > 0x39 || byte === 0x2e) plain = false;
          if (byte > 0x39) exponent = true;
        }
        const length = at + 1 - start;
        // Shorter ones fit a double, whatever they are.
        if (plain ? length < 16 : !exponent && length < 300) break;
        const text = bytes.toString("latin1", start, at + 1);
        if (fits(text, plain)) break;
        const param = bytes.toString("utf8", memberStart, Math.min(memberEnd, memberStart + nameMax));
        const inSchema = plain && holdsSchemas.has(param);
        if (inSchema && Number.isFinite(Number(text))) break;
        if (!plain || inSchema) return { code: "invalid_number", problem: "a number is too large for a double", param };
        // An int64 has 19 digits and a sign; more would be slow to read.
        if (depth !== 1 || param !== "seed" || length > 20) {
          return { code: "integer_out_of_range", problem: "an integer has more than 53 bits", param };
        }
        seed = BigInt(text);
        break;
      }
    }
  }
  return { keys, surrogates, seed };
}

/** Whether a double holds the number as it is written. What is no number at all is left to the parser. */
function fits(text: string, plain: boolean): boolean {
  const number = Number(text);
  if (Number.isNaN(number)) return true;
  return plain ? Number.isSafeInteger(number) : Number.isFinite(number);
}

function isNumberStart(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || byte === 0x2d;
}

function isNumberByte(byte: number): boolean {
  // 0-9 - . + e E
  return (
    (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x2e || byte === 0x2b || byte === 0x65 || byte === 0x45
  );
}

function isWord(bytes: Buffer, at: number, word: string): boolean {
  return bytes.toString("latin1", at, at + word.length) === word;
}
