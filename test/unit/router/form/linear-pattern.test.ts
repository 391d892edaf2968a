import { describe, expect, test } from "vitest";
import { linearPattern } from "../../../../services/router/form/linear-pattern.ts";
import { seededRandom } from "../../../fakes/seeded-random.ts";

const patterns = [
  "^\\d{4}-\\d{2}-\\d{2}$",
  "^[A-Z]{2,3}[-_ ]?[0-9]+$",
  "(?:a|b)*c",
  "^(?<year>a)b?$",
  "[^a\\]\\-]+",
  "^.$",
  "a.b",
  "\\s+$",
  "[\\s,]b",
  "^\\S+$",
  "\\bab\\b",
  "a\\Bb",
  "\\u0061\\x62",
  "\\u{1F701}",
  "^\\uD83D\\uDF01$",
  "^[\\u4e00-\\u9fff]+$",
  "^\\w+\\/\\w+$",
  "^\\p{Lu}",
  "\\n|\\t|\\0",
  "[.]",
  "",
];
const alphabet = [..."ab9AZ -_/.,]水🜁\u00a0\u2028\ufeff\n\t\0\r"];

describe("patterns mean what they mean in ECMA-262", () => {
  const { below, pick } = seededRandom(11);
  const texts = Array.from({ length: 400 }, () => Array.from({ length: below(7) }, () => pick(alphabet)).join(""));
  texts.push("2026-11-26", "AB-12", "a/b", "abc");
  test.each(patterns)("%s", (source) => {
    const linear = linearPattern(source);
    if (typeof linear === "string") throw new Error(linear);
    const native = new RegExp(source, "u");
    expect(texts.filter((text) => linear.test(text) !== native.test(text))).toEqual([]);
  });
});

test.each([
  "(a",
  "[a",
  "a{2,1}",
  "(?=a)b",
  "(?!a)b",
  "(?<=a)b",
  "(a)\\1",
  "\\k<a>",
  "(?i)a",
  "\\Aa",
  "\\Qa\\E",
  "\\z",
  "\\cA",
  "a{1001}",
  "(a{1000}){1000}",
  "\\u00",
  "\\u{110000}",
  "\\",
  "[^]",
  "\\01",
  `${"a".repeat(5_000)}`,
])("%s is refused", (source) => {
  expect(linearPattern(source)).toBeTypeOf("string");
});

test("a class inside a class is none", () => {
  const linear = linearPattern("^[[:alpha:]]+$");
  expect(typeof linear === "string" || linear.test("xyz")).toBe(false);
});

test("what makes others backtrack for ever takes its text's time", () => {
  const text = `${"a".repeat(50_000)}!`;
  const started = performance.now();
  for (const source of ["^(a+)+$", "^(a|aa)+$", "(.*)*x", "^(\\w+\\s?)*$"]) {
    const linear = linearPattern(source);
    expect(typeof linear !== "string" && linear.test(text)).toBe(false);
  }
  expect(performance.now() - started).toBeLessThan(5_000);
});
