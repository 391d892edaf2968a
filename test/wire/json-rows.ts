import type { Row } from "./edge-row.ts";

/** Bodies that are refused before their members are looked at, each with what it gets. */

/** A body of texts and single bytes. */
export const bytes = (...parts: (string | number)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from([part]))));
/** A chat whose message's content is this JSON text. */
export const chat = (content: string, more = "") =>
  `{"model":"weir-sim","messages":[{"role":"user","content":${content}}]${more}}`;
const members = (count: number, name: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => `"${name(i)}":1`).join(",");

export const jsonRows: readonly Row[] = [
  { name: "J1 an empty body", body: "", status: 400, code: "invalid_json" },
  { name: "J1 white space", body: " \n", status: 400, code: "invalid_json" },
  { name: "J1 null", body: "null", status: 400, code: "invalid_type" },
  { name: "J1 an array", body: "[]", status: 400, code: "invalid_type" },
  { name: "J1 a string", body: '"x"', status: 400, code: "invalid_type" },
  { name: "J1 a number", body: "1", status: 400, code: "invalid_type" },
  { name: "J5 C3 28", body: bytes('{"model":"', 0xc3, 0x28, '"}'), status: 400, code: "invalid_utf8" },
  { name: "J5 an overlong form", body: bytes('{"model":"', 0xc0, 0xaf, '"}'), status: 400, code: "invalid_utf8" },
  { name: "J5 F8", body: bytes('{"model":"', 0xf8, '"}'), status: 400, code: "invalid_utf8" },
  { name: "J6 a lone surrogate", body: chat('"\\ud800"'), status: 400, code: "invalid_unicode" },
  {
    name: "J8 depth 65",
    body: chat('"x"', `,"x":${"[".repeat(64)}${"]".repeat(64)}`),
    status: 400,
    code: "json_too_deep",
  },
  { name: "J8 depth 100,000", body: "[".repeat(100_000), status: 400, code: "json_too_deep" },
  { name: "J9 45 MB of empty objects", body: `[${"{},".repeat(15_000_000)}1]`, status: 413, code: "request_too_large" },
  {
    name: "J9 8 MB of empty objects",
    body: chat(`[${"{},".repeat(2_700_000)}1]`),
    status: 400,
    code: "json_too_complex",
  },
  { name: "J9 8 MB of names", body: `{${members(700_000, (i) => `k${i}`)}}`, status: 400, code: "json_too_complex" },
  { name: "J10 a name twice", body: '{"model":"a","model":"b"}', status: 400, code: "duplicate_key" },
  {
    name: "J11 __proto__",
    body: '{"__proto__":{"admin":true}}',
    status: 400,
    code: "unknown_parameter",
    param: "__proto__",
  },
  {
    name: "J11 constructor.prototype",
    body: '{"constructor":{"prototype":{}}}',
    status: 400,
    code: "unknown_parameter",
    param: "constructor",
  },
  {
    name: "J12 1e400",
    body: chat('"x"', ',"temperature":1e400'),
    status: 400,
    code: "invalid_number",
    param: "temperature",
  },
  {
    name: "J12 -1e400",
    body: chat('"x"', ',"temperature":-1e400'),
    status: 400,
    code: "invalid_number",
    param: "temperature",
  },
  { name: "J12 NaN", body: chat('"x"', ',"temperature":NaN'), status: 400, code: "invalid_number" },
  { name: "J12 Infinity", body: chat('"x"', ',"temperature":Infinity'), status: 400, code: "invalid_number" },
  {
    name: "J13 2^53+1",
    body: chat('"x"', ',"max_tokens":9007199254740993'),
    status: 400,
    code: "integer_out_of_range",
    param: "max_tokens",
  },
  {
    name: 'J14 "1" for an integer',
    body: chat('"x"', ',"max_tokens":"1"'),
    status: 400,
    code: "invalid_type",
    param: "max_tokens",
  },
  { name: "J15 a comma too many", body: '{"model":"a",}', status: 400, code: "invalid_json" },
  { name: "J15 a comment", body: '{"model":"a"/**/}', status: 400, code: "invalid_json" },
  { name: "J15 single quotes", body: "{'model':'a'}", status: 400, code: "invalid_json" },
  { name: "J15 more behind it", body: "{}x", status: 400, code: "invalid_json" },
  { name: "J15 two documents", body: "{}{}", status: 400, code: "invalid_json" },
  {
    name: "J17 colliding names",
    body: `{${members(300_000, (i) => String(65_536 * i))}}`,
    status: 400,
    code: "json_too_complex",
  },
];
