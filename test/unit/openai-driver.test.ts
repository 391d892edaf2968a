import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { CountSource, FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { Role, ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Counts } from "../../services/drivers/events.ts";
import { ChunkReader, type Outlet } from "../../services/drivers/openai/chunk.ts";
import { flavourNamed } from "../../services/drivers/openai/flavours.ts";
import { buildRequest } from "../../services/drivers/openai/request.ts";
import { attemptAt } from "../wire/attempts.ts";

const replicaModel = create(ReplicaModelSchema, { engineModel: "engine-model" });
type RequestInit = NonNullable<Parameters<typeof attemptAt>[1]>;
const says = (text: string) => ({ role: Role.USER, parts: [{ part: { case: "text" as const, value: text } }] });
const chat = (...messages: object[]): RequestInit => ({ input: { case: "conversation", value: { messages } } });

function bodyOf(flavour: string, request: RequestInit, more = {}): Record<string, unknown> {
  const built = buildRequest(attemptAt(replicaModel, request, more), flavourNamed(flavour));
  if (built.kind !== "request") throw new Error(`${built.param} is not supported`);
  return built.body;
}

describe("a request as OpenAI JSON", () => {
  test("of a conversation", () => {
    const request = chat(
      { ...says("rules"), role: Role.DEVELOPER },
      { ...says("hi"), name: "ann" },
      { role: Role.ASSISTANT, parts: [], reasoning: "hm", toolCalls: [{ id: "c1", name: "f", arguments: "{}" }] },
      { ...says("42"), role: Role.TOOL, toolCallId: "c1", extrasJson: '{"cache":true,"role":"user"}' },
    );
    expect(bodyOf("vllm", request)["messages"]).toEqual([
      { role: "system", content: "rules" },
      { role: "user", content: "hi", name: "ann" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c1", type: "function", function: { name: "f", arguments: "{}" } }],
        reasoning: "hm",
        reasoning_content: "hm",
      },
      { role: "tool", content: "42", tool_call_id: "c1", cache: true },
    ]);
    expect(bodyOf("openai", request)["messages"]).toMatchObject([{ role: "developer" }, {}, { role: "assistant" }, {}]);
  });

  test("of parts that are no text", () => {
    const parts = [
      { part: { case: "text", value: "see" } },
      { part: { case: "image", value: { url: "data:image/png;base64,x", detail: "low" } } },
      { part: { case: "audio", value: { dataBase64: "x", format: "wav" } } },
      { part: { case: "file", value: { fileId: "f1" } } },
      { part: { case: "unknownJson", value: '{"type":"video_url","video_url":{"url":"x"}}' } },
    ];
    expect(bodyOf("vllm", chat({ role: Role.USER, parts }))["messages"]).toEqual([
      {
        role: "user",
        content: [
          { type: "text", text: "see" },
          { type: "image_url", image_url: { url: "data:image/png;base64,x", detail: "low" } },
          { type: "input_audio", input_audio: { data: "x", format: "wav" } },
          { type: "file", file: { file_id: "f1" } },
          { type: "video_url", video_url: { url: "x" } },
        ],
      },
    ]);
  });

  test("of tools, with the choice said always and restricted by leaving out", () => {
    const tools = [{ name: "f", description: "d", parametersJson: '{"type":"object"}', strict: true }, { name: "g" }];
    expect(bodyOf("vllm", { ...chat(says("x")), tools })).toMatchObject({
      tools: [
        { type: "function", function: { name: "f", description: "d", parameters: { type: "object" }, strict: true } },
        { type: "function", function: { name: "g" } },
      ],
      tool_choice: "auto",
    });
    const none = { ...chat(says("x")), tools, toolChoice: { mode: ToolChoiceMode.NONE } };
    expect(bodyOf("vllm", none)).toMatchObject({ tools: [{}, {}], tool_choice: "none" });
    expect(bodyOf("ollama", none)).not.toHaveProperty("tools");
    expect(bodyOf("ollama", { ...chat(says("x")), tools })).not.toHaveProperty("tool_choice");
    expect(bodyOf("ollama", { ...chat(says("x")), tools })).toHaveProperty("tools");
    const restricted = { ...chat(says("x")), tools, toolChoice: { mode: ToolChoiceMode.REQUIRED, names: ["g"] } };
    expect(bodyOf("vllm", restricted)).toMatchObject({ tools: [{ function: { name: "g" } }], tool_choice: "required" });
    const named = { ...chat(says("x")), tools, toolChoice: { mode: ToolChoiceMode.FUNCTION, names: ["f"] } };
    expect(bodyOf("vllm", named)["tool_choice"]).toEqual({ type: "function", function: { name: "f" } });
  });

  test("of a prompt", () => {
    expect(
      bodyOf("vllm", { logprobs: { top: 2 }, echo: true, choices: 3, sampling: { maxTokens: 5 } }, { maxTokens: 0 }),
    ).toMatchObject({
      model: "engine-model",
      prompt: "hello",
      logprobs: 2,
      echo: true,
      n: 3,
      max_tokens: 5,
    });
    expect(bodyOf("vllm", { input: { case: "tokenIds", value: { ids: [1, 2] } } })["prompt"]).toEqual([1, 2]);
    expect(bodyOf("vllm", { echo: true, sampling: { maxTokens: 0 } }, { maxTokens: 0 })["max_tokens"]).toBe(0);
  });

  test("of an answer's form and log probabilities", () => {
    const form = { case: "jsonSchema" as const, value: { name: "s", schemaJson: '{"type":"object"}', strict: true } };
    expect(
      bodyOf("vllm", { ...chat(says("x")), responseFormat: { form }, logprobs: { top: 3 }, reasoningEffort: "low" }),
    ).toMatchObject({
      response_format: { type: "json_schema", json_schema: { name: "s", schema: { type: "object" }, strict: true } },
      logprobs: true,
      top_logprobs: 3,
      reasoning_effort: "low",
    });
  });

  test("with the caller's extras, which replace nothing of ours", () => {
    const extras = { model: "other", stream: false, cache_salt: "theirs", temperature: 2, top_k: 9, new_member: 1 };
    expect(bodyOf("vllm", { sampling: { temperature: 0.5 } }, { extras, cacheSalt: "ours" })).toMatchObject({
      model: "engine-model",
      stream: true,
      cache_salt: "ours",
      temperature: 0.5,
      top_k: 9,
      new_member: 1,
    });
  });

  test.each<[string, RequestInit, object]>([
    ["vllm", {}, { stream_options: { include_usage: true, continuous_usage_stats: true }, cache_salt: "salt" }],
    ["vllm", { choices: 2 }, { stream_options: { include_usage: true } }],
    ["vllm", { stream: false }, { stream: false }],
    ["vllm", { stream: false, logprobs: { top: 20 }, choices: 8 }, { stream: true, n: 8, logprobs: 20 }],
    ["vllm", { stream: false, logprobs: { top: 1 }, choices: 2, bestOf: 3 }, { stream: false, best_of: 3 }],
    ["llamacpp", {}, { temperature: 1, top_p: 1, top_k: 0, min_p: 0, stream: true }],
    ["llamacpp", { stream: false }, { stream: true, stream_options: { include_usage: true } }],
    ["llamacpp", { sampling: { repetitionPenalty: 1.5, temperature: 0 } }, { repeat_penalty: 1.5, temperature: 0 }],
    ["sglang", { sampling: { topK: 0 } }, { top_k: -1, rid: "id-1" }],
    ["trtllm", { logprobs: { top: 0 } }, { logprobs: 1, stream_options: { continuous_usage_stats: true } }],
    ["openai", { sampling: { topK: 5, seed: 3n }, logprobs: { top: 0 } }, { top_k: 5, seed: 3, logprobs: 0 }],
  ])("for %s with %o", (flavour, request, expected) => {
    expect(bodyOf(flavour, request, { id: "id-1", cacheSalt: "salt" })).toMatchObject(expected);
  });

  test("gives the salt only to servers that take it", () => {
    for (const flavour of ["llamacpp", "sglang", "ollama", "openai", "trtllm"])
      expect(bodyOf(flavour, {}, { cacheSalt: "salt" })).not.toHaveProperty("cache_salt");
    expect(bodyOf("trtllm", chat(says("hi")), { cacheSalt: "salt" })).toMatchObject({ cache_salt: "salt" });
  });

  test.each([
    ["llamacpp", { minTokens: 1 }, "min_tokens"],
    ["llamacpp", { stopTokenIds: [1] }, "stop_token_ids"],
    ["ollama", { topK: 3 }, "top_k"],
    ["ollama", { repetitionPenalty: 1.2 }, "repetition_penalty"],
  ])("for %s refuses %o", (flavour, sampling, param) => {
    const built = buildRequest(attemptAt(replicaModel, { sampling }), flavourNamed(flavour));
    expect(built).toEqual({ kind: "unsupported", param });
  });

  test("for ollama leaves out what has no effect", () => {
    const sampling = { topK: 0, minP: 0, repetitionPenalty: 1, minTokens: 0 };
    expect(bodyOf("ollama", { sampling })).not.toHaveProperty("top_k");
  });

  test.each([
    ["tools", { ...chat(says("x")), tools: [{ name: "f", parametersJson: "{" }] }],
    ["messages", chat({ ...says("x"), extrasJson: "[1]" })],
  ])("refuses JSON that is none in %s", (param, request) => {
    expect(() => bodyOf("vllm", request)).toThrow(`\`${param}\``);
  });
});

/** Writes down what a reader tells. */
class Recorder implements Outlet {
  readonly choices: number;
  readonly events: GenerateResponse[] = [];
  readonly finished = new Map<number, FinishReason>();
  counts: Counts | undefined;

  constructor(choices: number) {
    this.choices = choices;
  }

  has(choice: number): boolean {
    return Number.isInteger(choice) && choice >= 0 && choice < this.choices;
  }

  isFinished(choice: number): boolean {
    return this.finished.has(choice);
  }

  accept(): void {}

  event(message: GenerateResponse): void {
    this.events.push(message);
  }

  finish(choice: number, reason: FinishReason): void {
    this.finished.set(choice, reason);
  }

  count(counts: Counts): void {
    this.counts = counts;
  }

  /** Kind, value and tokens of each delta. */
  get told(): unknown[] {
    return this.events.map(({ event }) => {
      if (event.case !== "delta") return event.case;
      const { fragment, tokens } = event.value;
      if (fragment.case !== "toolCall") return [fragment.case, fragment.value, tokens];
      const { index, id, name, arguments: args } = fragment.value;
      return [index, id, name, args];
    });
  }
}

function read(chunks: unknown[], choices = 1, options = { usageCountsChoices: true, usageIsOfChunk: false }): Recorder {
  const recorder = new Recorder(choices);
  let ids = 0;
  const reader = new ChunkReader(recorder, options, { short: (length) => `${length}-${++ids}` });
  for (const chunk of chunks) expect(reader.read(chunk)).toBeUndefined();
  return recorder;
}

const chunk = (delta: object, more: object = {}) => ({ choices: [{ index: 0, delta, finish_reason: null, ...more }] });

describe("a chunk", () => {
  test.each<[string, object, unknown[]]>([
    ["of text", chunk({ content: "a" }), [["text", "a", 0]]],
    ["of a role", chunk({ role: "assistant", content: "" }), []],
    ["of thought, by either name", chunk({ reasoning: "a" }), [["reasoning", "a", 0]]],
    ["of thought, by the older name", chunk({ reasoning_content: "a" }), [["reasoning", "a", 0]]],
    ["of thought, by both names", chunk({ reasoning: "a", reasoning_content: "a" }), [["reasoning", "a", 0]]],
    ["of refusal", chunk({ refusal: "no" }), [["refusal", "no", 0]]],
    ["of a completion", { choices: [{ index: 0, text: "a" }] }, [["text", "a", 0]]],
    ["without an index", { choices: [{ delta: { content: "a" } }] }, [["text", "a", 0]]],
    ["with token ids", chunk({ content: "ab" }, { token_ids: [1, 2] }), [["text", "ab", 2]]],
    ["with content of a wrong type", chunk({ content: 5 }), []],
    [
      "with thought and text",
      chunk({ reasoning: "r", content: "c" }, { token_ids: [1] }),
      [
        ["reasoning", "r", 1],
        ["text", "c", 0],
      ],
    ],
  ])("%s", (_, json, told) => {
    expect(read([json]).told).toEqual(told);
  });

  test.each<[string, FinishReason]>([
    ["stop", FinishReason.STOP],
    ["length", FinishReason.LENGTH],
    ["tool_calls", FinishReason.TOOL_CALLS],
    ["function_call", FinishReason.TOOL_CALLS],
    ["content_filter", FinishReason.CONTENT_FILTER],
    ["something new", FinishReason.STOP],
  ])("that finishes with %s", (reason, expected) => {
    expect(read([chunk({}, { finish_reason: reason })]).finished.get(0)).toBe(expected);
  });

  test("with log probabilities of chat", () => {
    const logprobs = {
      content: [{ token: "a", logprob: -0.5, bytes: [97], top_logprobs: [{ token: "b", logprob: -1, bytes: null }] }],
    };
    const [event] = read([chunk({ content: "a" }, { logprobs })]).events;
    const delta = event?.event.case === "delta" ? event.event.value : undefined;
    expect(delta?.tokens).toBe(1);
    expect(delta?.logprobs[0]).toMatchObject({ token: "a", logprob: -0.5, top: [{ token: "b", logprob: -1 }] });
    expect(delta?.logprobs[0]?.top[0]?.bytes).toEqual(Uint8Array.of(98));
  });

  test("with log probabilities of completions", () => {
    const logprobs = {
      tokens: ["a", "b"],
      token_logprobs: [null, -2],
      top_logprobs: [null, { b: -2, c: -3 }],
      text_offset: [0, 1],
    };
    const [event] = read([{ choices: [{ index: 0, text: "ab", logprobs }] }]).events;
    const delta = event?.event.case === "delta" ? event.event.value : undefined;
    expect(delta?.logprobs).toMatchObject([
      { token: "a", unscored: true, top: [] },
      { token: "b", unscored: false, logprob: -2, top: [{ token: "b" }, { token: "c", logprob: -3 }] },
    ]);
  });
});

test("calls of a whole answer are told apart by where they stand", () => {
  const call = { function: { name: "f", arguments: "{}" } };
  const answer = { choices: [{ index: 0, message: { tool_calls: [call, call] }, finish_reason: "tool_calls" }] };
  expect(read([answer]).told).toEqual([
    [0, "call_24-1", "f", "{}"],
    [1, "call_24-2", "f", "{}"],
  ]);
});

describe("counts", () => {
  const usage = (completion: number, more: object = {}) => ({
    usage: { prompt_tokens: 3, completion_tokens: completion, ...more },
  });

  test("on every chunk are the tokens of each", () => {
    const continuous = { usageCountsChoices: true, usageIsOfChunk: true };
    const recorder = read(
      [
        { ...chunk({ role: "assistant" }), ...usage(0) },
        { ...chunk({ content: "ab" }), ...usage(2) },
        { ...chunk({}, { finish_reason: "stop" }), ...usage(3) },
      ],
      1,
      continuous,
    );
    expect(recorder.told).toEqual([
      ["text", "ab", 2],
      ["text", "", 1],
    ]);
    expect(recorder.counts).toMatchObject({
      promptTokens: 3,
      completionTokens: 3,
      completionSource: CountSource.ENGINE,
    });
  });

  test("at the end are of no chunk", () => {
    const recorder = read([
      chunk({ content: "a" }),
      {
        choices: [],
        ...usage(1, {
          prompt_tokens_details: { cached_tokens: 2 },
          completion_tokens_details: { reasoning_tokens: 1 },
        }),
      },
    ]);
    expect(recorder.told).toEqual([["text", "a", 0]]);
    expect(recorder.counts).toMatchObject({ cachedTokens: 2, reasoningTokens: 1 });
  });

  test("of one choice where there are several are not told", () => {
    const recorder = read([{ choices: [], ...usage(5) }], 2, { usageCountsChoices: false, usageIsOfChunk: false });
    expect(recorder.counts).toMatchObject({
      promptTokens: 3,
      completionTokens: 0,
      completionSource: CountSource.UNSPECIFIED,
    });
  });

  test.each([{ prompt_tokens: -1 }, { prompt_tokens: 1.5 }, { prompt_tokens: "3" }, {}, null])("%o are none", (raw) => {
    expect(read([{ choices: [], usage: raw }]).counts).toBeUndefined();
  });
});
