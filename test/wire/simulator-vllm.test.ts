import type { MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Control } from "../../gen/ts/engine/vllm/control_pb.ts";
import {
  FinishInfo_FinishReason as FinishReason,
  type GenerateRequestSchema,
  type GenerateResponse,
  Inference,
} from "../../gen/ts/engine/vllm/inference_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { eventually } from "../rpc/eventually.ts";
import { callGrpc, type GrpcCalls } from "./grpc-calls.ts";

const { generate, generateStream } = Inference.method;

let simulator: Simulator;
let calls: GrpcCalls;
let requestId = "";
let ordinal = 0;

const speed = { slots: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 2_000 };

beforeAll(async () => {
  simulator = await startSimulator({ speed, vllm: { port: 0 }, models: ["one", "other"] });
  calls = callGrpc(simulator.vllmUrl);
});
afterAll(async () => {
  calls[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});
beforeEach(() => {
  requestId = `vllm-${ordinal++}`;
});

type Request = Omit<MessageInitShape<typeof GenerateRequestSchema>, "$typeName">;

const of = (text: string, more: Request = {}): Request => ({
  requestId,
  prompt: { case: "text", value: text },
  ...more,
});
const begin = (text: string, more?: Request) => calls.begin(generateStream, of(text, more));
const stream = (text: string, more?: Request) => begin(text, more).drained;
const events = () =>
  simulator.recorder
    .entries()
    .filter((entry) => entry.id === requestId)
    .map(({ event }) => event);
const textOf = (messages: readonly GenerateResponse[]) => messages.map(({ outputs }) => outputs?.text ?? "").join("");
const endOf = (messages: readonly GenerateResponse[]) => messages.at(-1)?.outputs?.finishInfo;

describe("a stream", () => {
  test("begins with the prompt's count alone, and has a message for each token", async () => {
    const { messages, code } = await stream("[[sim length=20]] hello");
    expect(code).toBe(status.OK);
    expect(messages[0]?.promptInfo?.numPromptTokens).toBe(6);
    expect(messages[0]?.outputs).toBeUndefined();
    expect(messages.slice(1).map(({ outputs }) => outputs?.numTokens)).toEqual(Array.from({ length: 20 }, () => 1));
    expect(messages.slice(1).every(({ promptInfo }) => promptInfo === undefined)).toBe(true);
    expect(messages.slice(0, -1).every(({ outputs }) => outputs?.finishInfo === undefined)).toBe(true);
    expect(endOf(messages)).toMatchObject({
      numOutputTokens: 20,
      finishReason: FinishReason.STOP,
      stopReason: { case: "eosTokenId" },
    });
  });

  test("is greedy unless it is told a temperature", async () => {
    const texts = [];
    for (const temperature of [undefined, undefined, 1, 1])
      texts.push(textOf((await stream("again", temperature === undefined ? {} : { temperature })).messages));
    expect(texts[1]).toBe(texts[0]);
    expect(texts[3]).not.toBe(texts[2]);
  });

  test.each<[string, number, number]>([
    ["nothing is said", 0, 1_994],
    ["more is asked for than fits", 100_000, 1_994],
    ["less is asked for", 5, 5],
  ])("goes as far as the context when %s", async (_, maxNewTokens, tokens) => {
    const quick = await startSimulator({ speed: { ...speed, decodeMsPerToken: 0 }, vllm: { port: 0 } });
    using to = callGrpc(quick.vllmUrl);
    const request = of("[[sim length=9000]] hell", { stopping: { maxNewTokens } });
    const { messages } = await to.call(generateStream, request);
    expect(endOf(messages)).toMatchObject({ numOutputTokens: tokens, finishReason: FinishReason.LENGTH });
    await quick[Symbol.asyncDispose]();
  });

  test("ends before a stop text, or with it, and at a stop token", async () => {
    const prompt = "[[sim length=600]] x";
    const stopped = (await stream(prompt, { stopping: { stopStrings: [" of"] } })).messages;
    expect(endOf(stopped)?.stopReason).toEqual({ case: "stopString", value: " of" });
    const included = (await stream(prompt, { stopping: { stopStrings: [" of"], includeStopStrings: true } })).messages;
    expect(textOf(included)).toBe(`${textOf(stopped)} of`);
    const free = (await stream(prompt, { response: { outputTokenIds: true }, stopping: { maxNewTokens: 3 } })).messages;
    const [first, second] = free.flatMap(({ outputs }) => outputs?.tokenIds ?? []);
    const atToken = (await stream(prompt, { stopping: { stopTokenIds: [second ?? -1] } })).messages;
    expect(endOf(atToken)?.stopReason).toEqual({ case: "stopTokenId", value: second });
    expect(textOf(free).startsWith(textOf(atToken))).toBe(true);
    expect(first).toBeGreaterThanOrEqual(0);
  });

  test("tells ids and likelihoods if they are asked for, and never texts of other tokens", async () => {
    const response = {
      outputTokenIds: true,
      outputLogprobs: true,
      promptTokenIds: true,
      outputCandidates: { select: { case: "topN" as const, value: 2 } },
    };
    const { messages } = await stream("[[sim length=4]] hello", { response });
    expect(messages[0]?.promptInfo?.tokenIds).toHaveLength(6);
    for (const { outputs } of messages.slice(1)) {
      expect([outputs?.tokenIds.length, outputs?.logprobs.length, outputs?.ranks]).toEqual([1, 1, [1]]);
      expect(outputs?.candidateTokens[0]?.tokens).toHaveLength(2);
    }
  });

  test("takes token ids, and keeps the end of a prompt that is cut", async () => {
    const prompt = { case: "tokenIds" as const, value: { ids: [5, 600, 70_000] } };
    expect((await stream("", { prompt })).messages[0]?.promptInfo?.numPromptTokens).toBe(3);
    expect((await stream("12345678", { truncatePromptTokens: 1 })).messages[0]?.promptInfo?.numPromptTokens).toBe(1);
  });
});

test("an answer at once is one message with all of it", async () => {
  const { messages } = await calls.call(generate, of("[[sim length=30]] x"));
  expect(messages).toHaveLength(1);
  expect(messages[0]?.promptInfo?.numPromptTokens).toBe(5);
  expect(messages[0]?.outputs?.numTokens).toBe(30);
  expect(textOf(messages)).toBe(textOf((await stream("[[sim length=30]] x")).messages));
});

describe("a refusal", () => {
  const { INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION } = status;

  test.each<[string, string, Request, status, RegExp]>([
    [
      "too long",
      "x".repeat(8_000),
      {},
      INVALID_ARGUMENT,
      /maximum context length is 2000 tokens, but the prompt contains 2000/,
    ],
    ["empty", "", {}, INVALID_ARGUMENT, /prompt is required/],
    ["of two choices", "x", { sampling: { numSequences: 2 } }, INVALID_ARGUMENT, /num_sequences > 1/],
    ["too hot", "x", { temperature: 2.5 }, INVALID_ARGUMENT, /temperature/],
    ["too improbable", "x", { sampling: { topP: 1.5 } }, INVALID_ARGUMENT, /top_p/],
    [
      "min above max",
      "x",
      { stopping: { maxNewTokens: 1, minNewTokens: 2 } },
      INVALID_ARGUMENT,
      /min_tokens=2, max_tokens=1/,
    ],
    [
      "of no schema",
      "x",
      { decoding: { structuredOutput: { case: "json", value: "{" } } },
      INVALID_ARGUMENT,
      /invalid json schema/,
    ],
    ["of another model", "x", { model: "nope" }, NOT_FOUND, /^model `nope` not found$/],
    ["of an adapter", "x", { loraName: "poet" }, FAILED_PRECONDITION, /LoRA/],
  ])("of what is %s", async (_, text, more, code, details) => {
    expect(await stream(text, more)).toEqual({ messages: [], code, details: expect.stringMatching(details) });
    expect(events()).toEqual([]);
  });

  test("of a rank that is not there", async () => {
    const at = (rank: string) => calls.call(generateStream, of("x"), { headers: { "x-data-parallel-rank": rank } });
    expect((await at("7")).code).toBe(INVALID_ARGUMENT);
    expect((await at("0")).code).toBe(status.OK);
  });
});

describe("an abort", () => {
  test("ends the streams of its id well, and unknown ids are ignored", async () => {
    // The same id twice: both run.
    const both = [begin("[[sim drip after=1 ms=60000]] a"), begin("[[sim drip after=1 ms=60000]] b")];
    await eventually("both have produced", () => events().filter((event) => event === "produced").length === 2);
    expect((await calls.call(Control.method.abort, { requestIds: ["nobody's", requestId] })).code).toBe(status.OK);
    for (const { messages, code } of await Promise.all(both.map(({ drained }) => drained))) {
      expect([code, endOf(messages)?.finishReason]).toEqual([status.OK, FinishReason.ABORTED]);
      expect(endOf(messages)?.numOutputTokens).toBe(1);
    }
    expect(events().filter((event) => event === "cancelled")).toHaveLength(2);
  });

  test("is a cancelled call, streamed or not, and a deadline", async () => {
    const started = (times: number) =>
      eventually("it runs", () => events().filter((event) => event === "started").length === times);
    const hanging = begin("[[sim hang]]");
    await started(1);
    hanging.cancel();
    const plain = calls.begin(generate, of("[[sim hang]]"));
    await started(2);
    plain.cancel();
    expect((await calls.call(generate, of("[[sim hang]]"), { deadlineMs: 100 })).code).toBe(status.DEADLINE_EXCEEDED);
    await expect.poll(() => events().filter((event) => event === "cancelled").length).toBe(3);
  });
});

test.each([
  ["error after=2", status.INTERNAL, /^engine failed during generation$/],
  ["reject", status.RESOURCE_EXHAUSTED, /queue is full/],
  ["cut after=2", status.UNAVAILABLE, /./],
  ["early_end after=2", status.OK, /^$/],
])("a fault: %s", async (command, code, details) => {
  const { messages, ...end } = await stream(`[[sim ${command}]] x`);
  expect(end).toEqual({ code, details: expect.stringMatching(details) });
  expect(endOf(messages)).toBeUndefined();
  await expect.poll(async () => (await stream("back")).code).toBe(status.OK);
});

test("questions are answered, and each start has an id of its own", async () => {
  const [server] = (await calls.call(Control.method.getServerInfo, {})).messages;
  expect(server).toMatchObject({ maxModelLen: 2_000, maxRunningRequests: 4n });
  await using next = await startSimulator({ vllm: { port: 0 } });
  using to = callGrpc(next.vllmUrl);
  expect((await to.call(Control.method.getServerInfo, {})).messages[0]?.instanceId).not.toBe(server?.instanceId);
  const [info] = (await calls.call(Control.method.getModelInfo, {})).messages;
  expect(info).toMatchObject({ servedModelName: "one", servedModelAliases: ["other"] });
  expect((await calls.call(Control.method.listLoras, {})).code).toBe(status.FAILED_PRECONDITION);
  expect((await calls.call(Control.method.isPaused, {})).messages[0]?.paused).toBe(false);
  expect((await calls.call(Control.method.isSleeping, {})).messages[0]?.sleeping).toBe(false);
  for (const service of ["", "vllm.Inference", "vllm.Control"]) {
    const [health] = (await calls.call(Health.method.check, { service })).messages;
    expect(health?.status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  }
  expect((await calls.call(Health.method.check, { service: "other" })).code).toBe(status.NOT_FOUND);
});
