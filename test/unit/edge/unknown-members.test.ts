import { expect, test } from "vitest";
import { parseJsonObject } from "../../../services/edge/json/parse.ts";
import { decodeChatRequest } from "../../../services/edge/openai/chat-request.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";

const user = { role: "user", content: "hi" };
const tool = (name: string, more: object = {}) => ({ type: "function", function: { name, ...more } });

function decode(members: object, strict = false) {
  const parsed = parseJsonObject(Buffer.from(JSON.stringify({ model: "m", messages: [user], ...members })));
  if (!("value" in parsed)) throw new Error("the test's own body is refused");
  return decodeChatRequest(parsed.value, { strict });
}

function refusedMember(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof WeirError) || thrown.facts["code"] !== "unknown_parameter") throw thrown;
    return thrown.facts["param"];
  }
}

const parts = (...content: object[]) => ({ messages: [{ role: "user", content }] });
const answered = (call: object, more: object = {}) => ({
  messages: [
    user,
    {
      role: "assistant",
      tool_calls: [{ id: "a", type: "function", function: { name: "f", arguments: "{}", ...more }, ...call }],
    },
    { role: "tool", tool_call_id: "a", content: "x" },
  ],
});
const text = { type: "text", text: "x" };
const format = (type: string, json_schema?: object, more: object = {}) => ({
  response_format: { type, json_schema, ...more },
});

/** Members that clients are known to send inside others, and some that nobody sends. */
test.each<[object, string, string]>([
  [
    parts(text, { ...text, cache_control: { type: "ephemeral" } }),
    "messages[0].content[1].cache_control",
    "messages[].content[].cache_control",
  ],
  [
    parts({ type: "image_url", image_url: { url: "data:," }, uuid: "u" }),
    "messages[0].content[0].uuid",
    "messages[].content[].uuid",
  ],
  [
    parts({ type: "image_url", image_url: { url: "data:,", max_pixels: 9 } }),
    "messages[0].content[0].image_url.max_pixels",
    "messages[].content[].image_url.max_pixels",
  ],
  [
    parts({ type: "input_audio", input_audio: { data: "AA", format: "mp3", rate: 1 } }),
    "messages[0].content[0].input_audio.rate",
    "messages[].content[].input_audio.rate",
  ],
  [
    parts({ type: "file", file: { file_id: "f", pages: 1 } }),
    "messages[0].content[0].file.pages",
    "messages[].content[].file.pages",
  ],
  [
    answered({ extra_content: { google: { thought_signature: "s" } } }),
    "messages[1].tool_calls[0].extra_content",
    "messages[].tool_calls[].extra_content",
  ],
  [answered({}, { x: 1 }), "messages[1].tool_calls[0].function.x", "messages[].tool_calls[].function.x"],
  [{ tools: [{ ...tool("f"), cache_control: {} }] }, "tools[0].cache_control", "tools[].cache_control"],
  [{ tools: [tool("f", { returns: {} })] }, "tools[0].function.returns", "tools[].function.returns"],
  [{ functions: [{ name: "f", returns: {} }] }, "functions[0].returns", "functions[].returns"],
  [
    { tools: [tool("f")], tool_choice: { ...tool("f"), disable_parallel: true } },
    "tool_choice.disable_parallel",
    "tool_choice.disable_parallel",
  ],
  [
    {
      tools: [tool("f")],
      tool_choice: { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [tool("f")], x: 1 } },
    },
    "tool_choice.allowed_tools.x",
    "tool_choice.allowed_tools.x",
  ],
  [format("json_object", undefined, { schema: {} }), "response_format.schema", "response_format.schema"],
  [format("json_schema", { name: "n", x: 1 }), "response_format.json_schema.x", "response_format.json_schema.x"],
  [parts({ ...text, "a b": 1 }), "messages[0].content[0].a b", "messages[].content[].*"],
  [parts({ ...text, ["x".repeat(80)]: 1 }), `messages[0].content[0].${"x".repeat(80)}`, "messages[].content[].*"],
])("inside others %j is named, or refused where only known members are taken", (members, param, name) => {
  expect([...decode(members).ignored]).toEqual([name]);
  expect(refusedMember(() => decode(members, true))).toBe(param);
});

test("what is named of a body with thousands of unknown members fits a header", () => {
  const many = Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [`x${i}`, 1]));
  expect(decode(parts({ ...text, ...many })).ignored.size).toBe(64);
});

test("what is no name ends the search: one stands for all", () => {
  const many = Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [`a ${i}`, 1]));
  expect([...decode(parts({ ...text, first: 1, ...many, last: 1 })).ignored]).toEqual([
    "messages[].content[].first",
    "messages[].content[].*",
  ]);
});

test("what has a place in the list is not named for it", () => {
  expect([...decode(answered({ index: 0, extra_content: null })).ignored]).toEqual([]);
});
