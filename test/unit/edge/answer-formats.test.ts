import { expect, test } from "vitest";
import { FinishReason, type Finished, type Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { delta, deltaEvent, finished, textDelta, toolCallDelta } from "../../../services/drivers/events.ts";
import type { AnswerHead, ChunkFormat } from "../../../services/edge/openai/answer-format.ts";
import { createChatBody } from "../../../services/edge/openai/chat-body.ts";
import { createChatChunks } from "../../../services/edge/openai/chat-chunks.ts";
import { createCompletionBody } from "../../../services/edge/openai/completion-body.ts";
import { createCompletionChunks } from "../../../services/edge/openai/completion-chunks.ts";
import { counts } from "../../fakes/scripted-model.ts";

const head: AnswerHead = {
  id: "x-1",
  created: 1700000000,
  model: 'm"1',
  choices: 1,
  includeUsage: false,
  functionCalls: false,
};

function usageOf(message: GenerateResponse): Usage | undefined {
  return message.event.case === "usage" ? message.event.value : undefined;
}

/** Everything that a format writes for these events, as one text. */
function transcript(format: ChunkFormat, events: readonly GenerateResponse[]): string {
  let text = format.open();
  for (const { event } of events) {
    if (event.case === "delta") text += format.delta(event.value);
    if (event.case === "finished") text += format.finished(event.value);
  }
  return text + format.close(usageOf(counts(7, 3)));
}

const chunksOf = (text: string) =>
  text
    .split("\n\n")
    .filter((event) => event.startsWith("data: {"))
    .map((event) => JSON.parse(event.slice(6)) as Record<string, unknown> & { choices: Record<string, unknown>[] });

const withoutLogprob = (message: GenerateResponse): GenerateResponse => {
  if (message.event.case === "delta") {
    const said = { token: "é", logprob: 0, bytes: Buffer.from("é"), top: [], unscored: true };
    message.event.value.logprobs = [{ $typeName: "weir.router.v1.TokenLogprob", ...said }];
  }
  return message;
};

const withLogprob = (message: GenerateResponse, logprob: number): GenerateResponse => {
  if (message.event.case === "delta") {
    const top = [{ $typeName: "weir.router.v1.TopLogprob" as const, token: "a", logprob, bytes: new Uint8Array() }];
    const said = { token: "é", logprob, bytes: Buffer.from("é"), top, unscored: false };
    message.event.value.logprobs = [{ $typeName: "weir.router.v1.TokenLogprob", ...said }];
  }
  return message;
};

const hello = [
  textDelta(0, 'He"llo\n', 1),
  textDelta(0, "", 1),
  textDelta(0, " ☃\u2028", 1),
  finished(0, FinishReason.LENGTH),
];

test("a chat stream, byte for byte", () => {
  const common = '"id":"x-1","object":"chat.completion.chunk","created":1700000000,"model":"m\\"1"';
  const chunk = (delta: string, finish = "null") =>
    `data: {${common},"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finish}}]}\n\n`;
  expect(transcript(createChatChunks(head), hello)).toBe(
    chunk('{"role":"assistant","content":"","refusal":null}') +
      chunk('{"content":"He\\"llo\\n"}') +
      chunk('{"content":" ☃\u2028"}') +
      chunk("{}", '"length"') +
      "data: [DONE]\n\n",
  );
});

test("a chat stream with counts: none in any chunk but the last", () => {
  const chunks = chunksOf(transcript(createChatChunks({ ...head, includeUsage: true }), hello));
  expect(chunks.map(({ usage }) => usage)).toEqual([
    null,
    null,
    null,
    null,
    {
      prompt_tokens: 7,
      completion_tokens: 3,
      total_tokens: 10,
      prompt_tokens_details: { cached_tokens: 2 },
      completion_tokens_details: { reasoning_tokens: 0 },
    },
  ]);
  expect(chunks.at(-1)?.choices).toEqual([]);
  expect(new Set(chunks.map(({ id, created, model }) => JSON.stringify([id, created, model]))).size).toBe(1);
});

test("several choices have a role and a finish each, and may interleave", () => {
  const events = [
    textDelta(1, "b", 1),
    textDelta(0, "a", 1),
    finished(1, FinishReason.STOP),
    finished(0, FinishReason.CONTENT_FILTER),
  ];
  const chunks = chunksOf(transcript(createChatChunks({ ...head, choices: 2 }), events));
  expect(
    chunks.flatMap(({ choices }) => choices.map(({ index, delta, finish_reason }) => [index, delta, finish_reason])),
  ).toEqual([
    [0, { role: "assistant", content: "", refusal: null }, null],
    [1, { role: "assistant", content: "", refusal: null }, null],
    [1, { content: "b" }, null],
    [0, { content: "a" }, null],
    [1, {}, "stop"],
    [0, {}, "content_filter"],
  ]);
});

const calls = [
  toolCallDelta(0, { index: 0, id: "call_a", name: "f", arguments: "" }, 1),
  toolCallDelta(0, { index: 0, id: "", name: "", arguments: '{"x"' }, 1),
  toolCallDelta(0, { index: 1, id: "call_b", name: "g", arguments: "{}" }, 1),
  toolCallDelta(0, { index: 0, id: "call_a", name: "f", arguments: ":1}" }, 1),
  finished(0, FinishReason.TOOL_CALLS),
];

test("a call's id, type and name are told once, and its arguments in pieces", () => {
  const chunks = chunksOf(transcript(createChatChunks(head), calls)).slice(1);
  expect(chunks.map(({ choices: [choice] }) => choice?.["delta"])).toEqual([
    { tool_calls: [{ index: 0, id: "call_a", type: "function", function: { name: "f", arguments: "" } }] },
    { tool_calls: [{ index: 0, function: { arguments: '{"x"' } }] },
    { tool_calls: [{ index: 1, id: "call_b", type: "function", function: { name: "g", arguments: "{}" } }] },
    { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] },
    {},
  ]);
  expect(chunks.at(-1)?.choices[0]?.["finish_reason"]).toBe("tool_calls");
});

test("to a caller who speaks of functions a call is told as one", () => {
  const chunks = chunksOf(
    transcript(createChatChunks({ ...head, functionCalls: true }), [calls[0]!, calls[1]!, calls[4]!]),
  ).slice(1);
  expect(chunks.map(({ choices: [choice] }) => [choice?.["delta"], choice?.["finish_reason"]])).toEqual([
    [{ function_call: { name: "f", arguments: "" } }, null],
    [{ function_call: { arguments: '{"x"' } }, null],
    [{}, "function_call"],
  ]);
});

const thought = [
  deltaEvent(delta(0, { case: "reasoning", value: "hm" }, 1)),
  deltaEvent(delta(0, { case: "refusal", value: "no" }, 1)),
  finished(0, FinishReason.STOP),
];

test("thought has both its names, and a refusal its own", () => {
  const chunks = chunksOf(transcript(createChatChunks(head), thought)).slice(1);
  expect(chunks.map(({ choices: [choice] }) => choice?.["delta"])).toEqual([
    { reasoning: "hm", reasoning_content: "hm" },
    { refusal: "no" },
    {},
  ]);
});

test("log probabilities are numbers of JSON, with the token's bytes", () => {
  const chunks = chunksOf(
    transcript(createChatChunks(head), [withLogprob(textDelta(0, "é", 1), Number.NEGATIVE_INFINITY)]),
  ).slice(1);
  expect(chunks[0]?.choices[0]?.["logprobs"]).toEqual({
    content: [
      { token: "é", logprob: -9999, bytes: [195, 169], top_logprobs: [{ token: "a", logprob: -9999, bytes: null }] },
    ],
    refusal: null,
  });
});

test("a token that has no log probability has null, in a body, a stream and a chat", () => {
  const echoed = () => [withoutLogprob(textDelta(0, "é", 1)), withLogprob(textDelta(0, "é", 1), 0)];
  const lists = { tokens: ["é", "é"], token_logprobs: [null, 0], top_logprobs: [null, { a: 0 }], text_offset: [0, 1] };
  expect(bodyOf(head, echoed(), createCompletionBody).choices[0]?.["logprobs"]).toEqual(lists);
  const [first] = chunksOf(transcript(createCompletionChunks(head), echoed()));
  expect(first?.choices[0]?.["logprobs"]).toMatchObject({ token_logprobs: [null], top_logprobs: [null] });
  const [, chat] = chunksOf(transcript(createChatChunks(head), echoed()));
  expect(chat?.choices[0]?.["logprobs"]).toMatchObject({ content: [{ token: "é", logprob: null }] });
});

test("a token that makes no character yet is told where its log probability was asked for, and else not", () => {
  const chunks = chunksOf(
    transcript(createChatChunks(head), [textDelta(0, "", 1), withLogprob(textDelta(0, "", 1), -1)]),
  );
  expect(chunks).toHaveLength(2);
});

/** The same events as one body. */
function bodyOf(given: AnswerHead, events: readonly GenerateResponse[], create = createChatBody) {
  const format = create(given);
  for (const { event } of events) {
    if (event.case === "delta") format.delta(event.value);
    if (event.case === "finished") format.finished(event.value as Finished);
  }
  return JSON.parse([...format.body(usageOf(counts(7, 3)))].join("")) as Record<string, unknown> & {
    choices: Record<string, unknown>[];
  };
}

test("a chat body", () => {
  expect(bodyOf(head, hello)).toEqual({
    id: "x-1",
    object: "chat.completion",
    created: 1700000000,
    model: 'm"1',
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: 'He"llo\n ☃\u2028', refusal: null },
        logprobs: null,
        finish_reason: "length",
      },
    ],
    usage: {
      prompt_tokens: 7,
      completion_tokens: 3,
      total_tokens: 10,
      prompt_tokens_details: { cached_tokens: 2 },
      completion_tokens_details: { reasoning_tokens: 0 },
    },
  });
});

test.each<[string, GenerateResponse[], Partial<AnswerHead>, object, string]>([
  [
    "calls",
    calls,
    {},
    {
      role: "assistant",
      content: null,
      refusal: null,
      tool_calls: [
        { id: "call_a", type: "function", function: { name: "f", arguments: '{"x":1}' } },
        { id: "call_b", type: "function", function: { name: "g", arguments: "{}" } },
      ],
    },
    "tool_calls",
  ],
  [
    "a function's call",
    calls,
    { functionCalls: true },
    { role: "assistant", content: null, refusal: null, function_call: { name: "f", arguments: '{"x":1}' } },
    "function_call",
  ],
  [
    "thought and refusal",
    thought,
    {},
    { role: "assistant", content: null, refusal: "no", reasoning: "hm", reasoning_content: "hm" },
    "stop",
  ],
])("a chat body with %s", (_name, events, more, message, finish) => {
  const [choice] = bodyOf({ ...head, ...more }, events).choices;
  expect([choice?.["message"], choice?.["finish_reason"]]).toEqual([message, finish]);
});

const completed = [
  withLogprob(textDelta(0, "ab", 1), -1),
  withLogprob(textDelta(0, "c", 1), -2),
  finished(0, FinishReason.STOP),
];

test("a completion's stream and body say the same", () => {
  const text = transcript(createCompletionChunks(head), completed);
  const chunks = chunksOf(text);
  expect(chunks.map(({ choices: [choice] }) => [choice?.["text"], choice?.["finish_reason"]])).toEqual([
    ["ab", null],
    ["c", null],
    ["", "stop"],
  ]);
  expect(
    chunks.map(({ choices: [choice] }) => (choice?.["logprobs"] as { text_offset: number[] } | null)?.text_offset),
  ).toEqual([[0], [2], undefined]);
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  const [choice] = bodyOf(head, completed, createCompletionBody).choices;
  expect(choice).toEqual({
    index: 0,
    text: "abc",
    logprobs: {
      tokens: ["é", "é"],
      token_logprobs: [-1, -2],
      top_logprobs: [{ a: -1 }, { a: -2 }],
      text_offset: [0, 2],
    },
    finish_reason: "stop",
  });
});

test.each([
  ["chat", createChatBody],
  ["completion", createCompletionBody],
])("a %s body grows by nearly as much as it is told to", (_, create) => {
  const grown = (tokens: number) => {
    const format = create(head);
    let told = 0;
    for (let at = 0; at < tokens; at++) {
      const message = withLogprob(textDelta(0, "word", 1), -0.123456789);
      if (message.event.case === "delta") {
        message.event.value.tokenIds = [123_456];
        told += format.delta(message.event.value);
      }
    }
    return { told, length: [...format.body(undefined)].join("").length };
  };
  const few = grown(10);
  const many = grown(110);
  expect((many.told - few.told) / (many.length - few.length)).toBeCloseTo(1, 1);
});
