import { create } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { expect, test } from "vitest";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { Role, ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "../../../services/edge/json/parse.ts";
import { decodeChatRequest } from "../../../services/edge/openai/chat-request.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";

const user = { role: "user", content: "hi" };
const least = { model: "m", messages: [user] };

function bodyOf(members: unknown): JsonObject {
  const parsed = parseJsonObject(Buffer.from(JSON.stringify(members)));
  if (!("value" in parsed) || !isJsonObject(parsed.value)) throw new Error("the test's own body is refused");
  return parsed.value;
}

const decode = (members: object, strict = false) => decodeChatRequest(bodyOf({ ...least, ...members }), { strict });
const requestOf = (members: object) => decode(members).requests[0]!;
const tool = (name: string, more: object = {}) => ({ type: "function", function: { name, ...more } });

/** Every member of the API's request that the contract has a field for, and what becomes of it. */
const honoured: readonly (readonly [object, object])[] = [
  [{ temperature: 0 }, { sampling: { temperature: 0 } }],
  [{ temperature: 2 }, { sampling: { temperature: 2 } }],
  [{ top_p: 0.5 }, { sampling: { topP: 0.5 } }],
  [{ top_k: 0 }, { sampling: { topK: 0 } }],
  [{ top_k: -1 }, { sampling: { topK: -1 } }],
  [{ min_p: 0.1 }, { sampling: { minP: 0.1 } }],
  [{ frequency_penalty: -2 }, { sampling: { frequencyPenalty: -2 } }],
  [{ presence_penalty: 2 }, { sampling: { presencePenalty: 2 } }],
  [{ repetition_penalty: 1.1 }, { sampling: { repetitionPenalty: 1.1 } }],
  [{ seed: -7 }, { sampling: { seed: -7n } }],
  [{ logit_bias: { "50256": -100, "1": 2.5 } }, { sampling: { logitBias: { 50256: -100, 1: 2.5 } } }],
  [{ max_tokens: 5 }, { sampling: { maxTokens: 5 } }],
  [{ max_tokens: 5.0 }, { sampling: { maxTokens: 5 } }],
  [{ max_completion_tokens: 6 }, { sampling: { maxTokens: 6 } }],
  [{ max_tokens: 6, max_completion_tokens: 6 }, { sampling: { maxTokens: 6 } }],
  [{ min_tokens: 3 }, { sampling: { minTokens: 3 } }],
  [{ stop: "END" }, { sampling: { stop: ["END"] } }],
  [{ stop: ["a", "b", "c", "(a+)+$"] }, { sampling: { stop: ["a", "b", "c", "(a+)+$"] } }],
  [{ stop_token_ids: [1, 2] }, { sampling: { stopTokenIds: [1, 2] } }],
  [{ ignore_eos: true }, { sampling: { ignoreEos: true } }],
  [{ n: 3 }, { choices: 3 }],
  [{ n: 128 }, { choices: 128 }],
  [{ stream: true }, { stream: true }],
  [{ logprobs: true }, { logprobs: { top: 0 } }],
  [{ logprobs: true, top_logprobs: 20 }, { logprobs: { top: 20 } }],
  [{ logprobs: false, top_logprobs: 0 }, { logprobs: undefined }],
  [{ reasoning_effort: "xhigh" }, { reasoningEffort: "xhigh" }],
  [{ response_format: { type: "text" } }, { responseFormat: { form: { case: "text" } } }],
  [{ response_format: { type: "json_object" } }, { responseFormat: { form: { case: "jsonObject" } } }],
  [
    { response_format: { type: "json_schema", json_schema: { name: "a", schema: { type: "object" }, strict: true } } },
    {
      responseFormat: {
        form: { case: "jsonSchema", value: { name: "a", schemaJson: '{"type":"object"}', strict: true } },
      },
    },
  ],
  [
    { tools: [tool("f", { description: "d", parameters: { type: "object" }, strict: null })] },
    { tools: [{ name: "f", description: "d", parametersJson: '{"type":"object"}', strict: undefined }] },
  ],
  [{ tools: [tool("f")], tool_choice: "none" }, { toolChoice: { mode: ToolChoiceMode.NONE, names: [] } }],
  [{ tools: [tool("f")], tool_choice: "auto" }, { toolChoice: { mode: ToolChoiceMode.AUTO, names: [] } }],
  [{ tools: [tool("f")], tool_choice: "required" }, { toolChoice: { mode: ToolChoiceMode.REQUIRED, names: [] } }],
  [{ tools: [tool("f")], tool_choice: tool("f") }, { toolChoice: { mode: ToolChoiceMode.FUNCTION, names: ["f"] } }],
  [
    {
      tools: [tool("f"), tool("g")],
      tool_choice: { type: "allowed_tools", allowed_tools: { mode: "required", tools: [tool("g")] } },
    },
    { toolChoice: { mode: ToolChoiceMode.REQUIRED, names: ["g"] } },
  ],
  [
    { tools: [], tool_choice: "none" },
    { tools: [], toolChoice: { mode: ToolChoiceMode.NONE } },
  ],
  [{ parallel_tool_calls: false }, { parallelToolCalls: false }],
  [
    { functions: [{ name: "f" }], function_call: "auto" },
    { tools: [{ name: "f" }], toolChoice: { mode: ToolChoiceMode.AUTO } },
  ],
  [
    { functions: [{ name: "f" }], function_call: { name: "f" } },
    { parallelToolCalls: false, toolChoice: { mode: ToolChoiceMode.FUNCTION, names: ["f"] } },
  ],
  [{ modalities: ["text"] }, {}],
  [{ service_tier: "auto" }, {}],
];

test.each(honoured)("%j is honoured", (members, expected) => {
  const decoded = decode(members);
  expect(decoded.requests[0]).toMatchObject(expected);
  expect(decoded.requests[0]!.extrasJson).toBe("");
  expect([...decoded.ignored]).toEqual([]);
});

/** Members that have no effect here: the answer names them. */
const ignored: readonly (readonly [object, string[]])[] = [
  [{ store: true }, ["store"]],
  [{ store: false }, []],
  [{ metadata: { a: "b" } }, ["metadata"]],
  [{ metadata: {} }, []],
  [{ user: "u" }, ["user"]],
  [{ safety_identifier: "s" }, ["safety_identifier"]],
  [{ prediction: { type: "content", content: "x" } }, ["prediction"]],
  [{ prompt_cache_options: { mode: "explicit" } }, ["prompt_cache_options"]],
  [{ prompt_cache_retention: "24h" }, ["prompt_cache_retention"]],
  [{ prompt_cache_key: "k" }, []],
  [{ service_tier: "priority" }, ["service_tier"]],
  [{ stream: true, stream_options: { include_obfuscation: true } }, ["stream_options.include_obfuscation"]],
  [{ stream: true, stream_options: { continuous_usage_stats: true } }, ["stream_options.continuous_usage_stats"]],
  [{ stream: true, stream_options: { include_usage: true, include_obfuscation: false } }, []],
  [
    { messages: [{ role: "user", content: [{ type: "text", text: "a", prompt_cache_breakpoint: {} }] }] },
    ["prompt_cache_breakpoint"],
  ],
];

test.each(ignored)("%j is understood, and named where it has no effect: %j", (members, names) => {
  const decoded = decode(members);
  expect([...decoded.ignored]).toEqual(names);
  expect(decoded.requests[0]!.extrasJson).toBe("");
});

test.each<object>([
  { verbosity: "low" },
  { length_penalty: 1 },
  { structured_outputs: { regex: "a+" } },
  { return_token_ids: true },
  { chat_template_kwargs: { enable_thinking: false } },
  { prompt_logprobs: 3 },
  { logprob_token_ids: [1, 2] },
  { priority: 3 },
  { something_new: { nested: [1, "two"] } },
  { constructor: "c", toString: 1 },
])("%j is carried", (members) => {
  expect(JSON.parse(requestOf(members).extrasJson)).toEqual(members);
});

test.each(["x", "x".repeat(1_000_000), 7, { a: 1 }])("a cache_salt is dropped without a word", (cache_salt) => {
  const decoded = decode({ cache_salt });
  expect(decoded.requests).toEqual(decode({}).requests);
  expect([...decoded.ignored]).toEqual([]);
});

test("an echo that is not wanted is none", () => {
  expect(decode({ echo: false }).requests).toEqual(decode({}).requests);
});

test("null stands for absence, whatever the member", () => {
  const nulls = Object.fromEntries(
    [...honoured, ...ignored]
      .flatMap(([members]) => Object.keys(members))
      .filter((name) => !(name in least))
      .map((name) => [name, null]),
  );
  const decoded = decode({ ...nulls, something_new: null, audio: null, web_search_options: null });
  expect(decoded.requests).toEqual(decode({}).requests);
  expect([...decoded.ignored]).toEqual([]);
});

/** What no engine behind the contract offers: refused by its name, and not dropped in silence. */
test.each<[object, string, string]>([
  [{ audio: { voice: "alloy", format: "wav" } }, "audio", "unsupported_parameter"],
  [{ modalities: ["text", "audio"] }, "modalities", "unsupported_parameter"],
  [{ web_search_options: {} }, "web_search_options", "unsupported_parameter"],
  [{ moderation: { model: "x" } }, "moderation", "unsupported_parameter"],
  [{ echo: true }, "echo", "unsupported_parameter"],
  [{ tools: [{ type: "custom", custom: { name: "c" } }] }, "tools[0].type", "unsupported_parameter"],
  [{ tools: [{ type: "web_search" }] }, "tools[0].type", "unsupported_parameter"],
  [
    { tools: [tool("f")], tool_choice: { type: "custom", custom: { name: "c" } } },
    "tool_choice.type",
    "unsupported_parameter",
  ],
  [{ response_format: { type: "structural_tag" } }, "response_format.type", "unsupported_parameter"],
  [{ messages: [user, { role: "assistant", audio: { id: "a" } }] }, "messages[1].audio", "unsupported_parameter"],
  [
    {
      messages: [
        user,
        { role: "assistant", tool_calls: [{ id: "a", type: "custom", custom: { name: "c", input: "" } }] },
      ],
    },
    "messages[1].tool_calls[0].type",
    "unsupported_parameter",
  ],
])("%j is refused by name", (members, param, code) => {
  expect(refusalOf(() => decode(members))).toEqual({ param, code });
});

test.each<object>([{ something_new: 1 }, { messages: [{ ...user, something_new: 1 }] }])(
  "%j is refused where only known members are taken",
  (members) => {
    expect(refusalOf(() => decode(members, true))?.code).toBe("unknown_parameter");
  },
);

test("members that engines know pass where only known members are taken", () => {
  expect(decode({ top_k: 3, guided_regex: "a+" }, true).requests[0]!.extrasJson).toBe('{"guided_regex":"a+"}');
});

function refusalOf(run: () => unknown): { param: string | undefined; code: string } | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof WeirError)) throw thrown;
    return { param: thrown.facts["param"], code: thrown.facts["code"] ?? "unsupported_parameter" };
  }
}

/** A message in, and what the contract's message says. */
const messages: readonly (readonly [object, object])[] = [
  [
    { role: "system", content: "s" },
    { role: Role.SYSTEM, parts: [{ part: { case: "text", value: "s" } }] },
  ],
  [
    { role: "developer", content: [{ type: "text", text: "s" }] },
    { role: Role.DEVELOPER, parts: [{ part: { value: "s" } }] },
  ],
  [
    { role: "user", content: "", name: "Ann" },
    { role: Role.USER, name: "Ann", parts: [{ part: { case: "text", value: "" } }] },
  ],
  [
    { role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AA", detail: "low" } }] },
    { parts: [{ part: { case: "image", value: { url: "data:image/png;base64,AA", detail: "low" } } }] },
  ],
  [
    { role: "user", content: [{ type: "input_audio", input_audio: { data: "AA", format: "mp3" } }] },
    { parts: [{ part: { case: "audio", value: { dataBase64: "AA", format: "mp3" } } }] },
  ],
  [
    { role: "user", content: [{ type: "file", file: { file_data: "AA", filename: "a.pdf" } }] },
    {
      parts: [
        { part: { case: "file", value: { dataUrl: "data:application/octet-stream;base64,AA", filename: "a.pdf" } } },
      ],
    },
  ],
  [
    { role: "user", content: [{ type: "file", file: { file_id: "file-1" } }] },
    { parts: [{ part: { case: "file", value: { fileId: "file-1", dataUrl: "" } } }] },
  ],
  [
    { role: "user", content: [{ type: "video_url", video_url: { url: "https://e.org/v.mp4" } }] },
    {
      parts: [
        { part: { case: "unknownJson", value: '{"type":"video_url","video_url":{"url":"https://e.org/v.mp4"}}' } },
      ],
    },
  ],
  [
    { role: "assistant", content: "a", reasoning_content: "r" },
    { role: Role.ASSISTANT, reasoning: "r" },
  ],
  [{ role: "assistant", content: "a", reasoning: "new", reasoning_content: "old" }, { reasoning: "new" }],
  [{ role: "assistant", content: null, refusal: "no" }, { parts: [{ part: { case: "refusal", value: "no" } }] }],
  [
    {
      role: "assistant",
      content: [
        { type: "text", text: "t" },
        { type: "refusal", refusal: "no" },
      ],
    },
    { parts: [{ part: { case: "text" } }, { part: { case: "refusal", value: "no" } }] },
  ],
  [
    { role: "assistant", content: "a", annotations: [], audio: null, tool_calls: [] },
    { extrasJson: "", toolCalls: [] },
  ],
  [{ role: "user", content: "a", custom: { b: 1 } }, { extrasJson: '{"custom":{"b":1}}' }],
];

test.each(messages)("message %j", (from, expected) => {
  const [decoded] = conversation([from]);
  expect(decoded).toMatchObject(expected);
});

function conversation(list: readonly object[]) {
  const { input } = requestOf({ messages: list });
  return input.case === "conversation" ? input.value.messages : [];
}

const callOf = (id: string) => ({ id, type: "function", function: { name: "f", arguments: "{}" } });

test("calls of tools and their answers keep their ids", () => {
  const decoded = conversation([
    user,
    { role: "assistant", content: null, tool_calls: [callOf("a"), callOf("b")] },
    { role: "tool", tool_call_id: "b", content: "2" },
    { role: "tool", tool_call_id: "a", content: [{ type: "text", text: "1" }] },
    user,
  ]);
  expect(decoded[1]).toMatchObject({ parts: [], toolCalls: [{ id: "a", name: "f", arguments: "{}" }, { id: "b" }] });
  expect(decoded.slice(2, 4)).toMatchObject([
    { role: Role.TOOL, toolCallId: "b" },
    { role: Role.TOOL, toolCallId: "a" },
  ]);
});

test("a function that was called the old way is answered by its name", () => {
  const decoded = conversation([
    user,
    { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } },
    { role: "function", name: "f", content: "1" },
  ]);
  expect(decoded.slice(1)).toMatchObject([
    { toolCalls: [{ id: "f", name: "f" }] },
    { role: Role.TOOL, toolCallId: "f", name: "f" },
  ]);
});

test("a session's id of one turn may be used again in the next", () => {
  const turn = [
    { role: "assistant", tool_calls: [callOf("a")] },
    { role: "tool", tool_call_id: "a", content: "1" },
  ];
  expect(conversation([user, ...turn, user, ...turn])).toHaveLength(6);
});

const decoded = [...honoured.map(([members]) => members), ...messages.map(([message]) => ({ messages: [message] }))];
const validator = createValidator();

test.each(decoded)("%j keeps the contract's own rules", (members) => {
  const request = create(GenerateRequestSchema, requestOf(members));
  expect(validator.validate(GenerateRequestSchema, request)).toMatchObject({ kind: "valid" });
});
