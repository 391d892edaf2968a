import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  DecodingMethod,
  GenerationService,
  type ParametersSchema,
  StopReason,
} from "../../gen/ts/engine/tgis/generation_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import type { ServerReflectionRequest as Request } from "../../gen/ts/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection } from "../../gen/ts/grpc/reflection/v1alpha/reflection_pb.ts";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { eventually } from "../rpc/eventually.ts";
import { callGrpc, type GrpcCalls } from "./grpc-calls.ts";

const { generate, generateStream, modelInfo, tokenize } = GenerationService.method;
const { serverReflectionInfo } = ServerReflection.method;

let simulator: Simulator;
let calls: GrpcCalls;
let id = "";
let ordinal = 0;

beforeAll(async () => {
  const speed = { slots: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 2_000 };
  simulator = await startSimulator({ speed, tgis: { port: 0 } });
  calls = callGrpc(simulator.tgisUrl);
});
afterAll(async () => {
  calls[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});
beforeEach(() => {
  id = `tgis-${ordinal++}`;
});

type Parameters = MessageInitShape<typeof ParametersSchema>;

const headers = () => ({ "x-correlation-id": id });
const begin = (text: string, params: Parameters = {}, deadlineMs?: number) =>
  calls.begin(
    generateStream,
    { request: { text }, params },
    { headers: headers(), ...(deadlineMs === undefined ? {} : { deadlineMs }) },
  );
const stream = (text: string, params?: Parameters) => begin(text, params).drained;
const events = () =>
  simulator.recorder
    .entries()
    .filter((entry) => entry.id === id || entry.id.startsWith(`${id}-`))
    .map(({ event }) => event);
const textOf = (messages: readonly { text: string }[]) => messages.map(({ text }) => text).join("");

describe("a stream", () => {
  test("begins with the prompt's count, and counts from the beginning", async () => {
    const { messages, code } = await stream("[[sim length=20]] hello");
    expect(code).toBe(status.OK);
    expect(messages[0]).toMatchObject({ inputTokenCount: 6, text: "", generatedTokenCount: 0 });
    const counts = messages.slice(1).map(({ generatedTokenCount }) => generatedTokenCount);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(messages.slice(0, -1).every(({ stopReason }) => stopReason === StopReason.NOT_FINISHED)).toBe(true);
    expect(messages.at(-1)).toMatchObject({
      generatedTokenCount: 20,
      stopReason: StopReason.EOS_TOKEN,
      stopSequence: "</s>",
    });
  });

  test("has several tokens in the message of a character that was not whole before", async () => {
    const { messages } = await stream("[[sim length=400]] characters");
    const counts = messages.map(({ generatedTokenCount }) => generatedTokenCount);
    expect(counts.some((count, at) => at > 0 && count - (counts[at - 1] ?? 0) > 1)).toBe(true);
    expect(textOf(messages)).not.toContain("�");
  });

  test("tells the seed once, and only if there was one", async () => {
    const params = { method: DecodingMethod.SAMPLE, sampling: { seed: 7n } };
    const seeds = (await stream("seeded", params)).messages.map(({ seed }) => seed);
    expect([seeds[0], new Set(seeds.slice(1))]).toEqual([7n, new Set([0n])]);
    expect((await stream("not seeded")).messages[0]?.seed).toBe(0n);
  });

  test("has the stop text in it unless it is told otherwise", async () => {
    const stop = " of";
    const prompt = "[[sim length=600]] x";
    const stopping = { stopSequences: [stop] };
    const included = (await stream(prompt, { stopping })).messages;
    expect(included.at(-1)).toMatchObject({ stopReason: StopReason.STOP_SEQUENCE, stopSequence: stop });
    const excluded = (await stream(prompt, { stopping: { ...stopping, includeStopSequence: false } })).messages;
    expect(excluded.at(-1)?.stopSequence).toBe(stop);
    expect(textOf(included)).toBe(textOf(excluded) + stop);
  });

  test.each<[string, Parameters, StopReason]>([
    ["what was asked for", { stopping: { maxNewTokens: 5 } }, StopReason.MAX_TOKENS],
    ["the context", { stopping: { maxNewTokens: 1_999 } }, StopReason.TOKEN_LIMIT],
    ["time", { stopping: { timeLimitMillis: 20 } }, StopReason.TIME_LIMIT],
  ])("ends at the limit of %s", async (_, params, reason) => {
    const { messages } = await stream("[[sim length=5000]] x", params);
    expect(messages.at(-1)?.stopReason).toBe(reason);
    expect(events().at(-1)).toBe("finished");
  });

  test("keeps the end of a prompt that is cut, and repeats it if it is told to", async () => {
    const { messages } = await stream("12345678abcd", { truncateInputTokens: 1, response: { inputText: true } });
    expect(messages[0]).toMatchObject({ inputTokenCount: 1, text: "abcd" });
  });

  test("writes tokens as the vocabulary does", async () => {
    const response = { generatedTokens: true, tokenLogprobs: true, topNTokens: 2 };
    const { messages } = await stream("[[sim length=30]] x", { response });
    const tokens = messages.flatMap((message) => message.tokens);
    expect(tokens.length).toBe(30);
    expect(tokens[0]?.text).toMatch(/^Ġ\w+$/);
    expect(tokens.every(({ topTokens, logprob }) => topTokens.length === 2 && logprob < 0)).toBe(true);
  });
});

describe("a refusal", () => {
  test.each<[string, string, Parameters, status, RegExp]>([
    [
      "too long",
      "x".repeat(8_000),
      {},
      status.INVALID_ARGUMENT,
      /^input tokens \(2000\) plus prefix length \(0\) must be < 2000$/,
    ],
    ["more than it gives", "x", { stopping: { maxNewTokens: 2_001 } }, status.INVALID_ARGUMENT, /must be <= 2000/],
    [
      "min above max",
      "x",
      { stopping: { maxNewTokens: 1, minNewTokens: 2 } },
      status.INVALID_ARGUMENT,
      /min_new_tokens/,
    ],
    ["seven stops", "x", { stopping: { stopSequences: [..."abcdefg"] } }, status.INVALID_ARGUMENT, /at most 6/],
    ["eleven alternatives", "x", { response: { topNTokens: 11 } }, status.INVALID_ARGUMENT, /top_n_tokens \(11\)/],
    ["detail of nothing", "x", { response: { tokenLogprobs: true } }, status.INVALID_ARGUMENT, /must request/],
    ["too much penalty", "x", { decoding: { repetitionPenalty: 3 } }, status.INVALID_ARGUMENT, /repetition_penalty/],
    ["nearly cold", "x", { sampling: { temperature: 0.01 } }, status.INVALID_ARGUMENT, />= 0.05/],
    ["no prompt", "", {}, status.UNKNOWN, /^Unexpected <class 'ValueError'>: The decoder prompt/],
    ["typical_p", "x", { sampling: { typicalP: 0.5 } }, status.UNKNOWN, /logits processors/],
    ["length_penalty", "x", { decoding: { lengthPenalty: { decayFactor: 2 } } }, status.UNKNOWN, /logits processors/],
  ])("of what is %s", async (_, text, params, code, details) => {
    expect(await stream(text, params)).toEqual({ messages: [], code, details: expect.stringMatching(details) });
    expect(events()).toEqual([]);
  });

  test("of an id that runs, and not once it is over", async () => {
    const running = begin("[[sim hang]] x");
    await eventually("it runs", () => events().includes("started"));
    expect(await stream("x")).toMatchObject({
      code: status.UNKNOWN,
      details: expect.stringContaining("already running"),
    });
    running.cancel();
    await running.drained;
    await eventually("it is cancelled", () => events().includes("cancelled"));
    expect((await stream("x")).code).toBe(status.OK);
  });
});

describe("several prompts at once", () => {
  const batch = (...texts: string[]) =>
    calls.begin(generate, { requests: texts.map((text) => ({ text })) }, { headers: headers() });

  test("are answered in their order", async () => {
    const { messages } = await batch("[[sim length=30]] long", "[[sim length=3]] short").drained;
    const [{ responses } = { responses: [] }] = messages;
    expect(responses.map(({ generatedTokenCount }) => generatedTokenCount)).toEqual([30, 3]);
    expect(responses.map(({ inputTokenCount }) => inputTokenCount)).toEqual([6, 6]);
  });

  test("fail as one", async () => {
    expect(await batch("[[sim hang]]", "[[sim error after=1]]").drained).toMatchObject({
      code: status.UNKNOWN,
      messages: [],
    });
    await eventually(
      "both are over",
      () => events().filter((event) => event === "failed" || event === "cancelled").length === 2,
    );
  });

  test("are given up as one", async () => {
    const { cancel } = batch("[[sim hang]]", "[[sim hang]]");
    await eventually("both run", () => events().filter((event) => event === "started").length === 2);
    cancel();
    await expect.poll(() => events().filter((event) => event === "cancelled").length).toBe(2);
  });
});

describe("a fault", () => {
  test.each([
    ["error after=2", status.UNKNOWN, /^Unexpected <class 'RuntimeError'>: CUDA/],
    ["reject", status.RESOURCE_EXHAUSTED, /overloaded/],
    ["cut after=2", status.UNAVAILABLE, /./],
    ["early_end after=2", status.OK, /^$/],
  ])("%s", async (command, code, details) => {
    const { messages, ...end } = await stream(`[[sim ${command}]] x`);
    expect(end).toEqual({ code, details: expect.stringMatching(details) });
    expect(messages.every(({ stopReason }) => stopReason === StopReason.NOT_FINISHED)).toBe(true);
    await expect.poll(async () => (await stream("back")).code).toBe(status.OK);
  });
});

test("a deadline stops the engine", async () => {
  expect((await begin("[[sim hang]]", {}, 100).drained).code).toBe(status.DEADLINE_EXCEEDED);
  await eventually("it is cancelled", () => events().includes("cancelled"));
});

describe("IBM's own server", () => {
  let ibm: Simulator;
  let ofIbm: GrpcCalls;
  beforeAll(async () => {
    const speed = { prefillMsPerToken: 0, decodeMsPerToken: 0 };
    ibm = await startSimulator({ speed, tgis: { port: 0, ibm: true } });
    ofIbm = callGrpc(ibm.tgisUrl);
  });
  afterAll(async () => {
    ofIbm[Symbol.dispose]();
    await ibm[Symbol.asyncDispose]();
  });
  const ask = (params: Parameters, text = "[[sim length=60]] x") =>
    ofIbm.call(generateStream, { request: { text }, params });

  test("shows neither its health nor its contract", async () => {
    const file = { messageRequest: { case: "fileContainingSymbol" as const, value: "fmaas.DecodingParameters" } };
    expect((await ofIbm.call(Health.method.check, {})).code).toBe(status.UNIMPLEMENTED);
    expect((await ofIbm.call(serverReflectionInfo, file)).code).toBe(status.UNIMPLEMENTED);
    expect((await ofIbm.call(modelInfo, {})).code).toBe(status.OK);
  });

  test("generates 20 tokens unless it is told how many", async () => {
    expect((await ask({})).messages.at(-1)?.generatedTokenCount).toBe(20);
    expect((await ask({ stopping: { maxNewTokens: 30 } })).messages.at(-1)?.generatedTokenCount).toBe(30);
  });

  test.each<[string, Parameters]>([
    ["a form", { decoding: { guided: { case: "jsonSchema", value: '{"type":"object"}' } } }],
    ["a choice of one", { decoding: { guided: { case: "choice", value: { choices: ["yes"] } } } }],
    ["a grammar", { decoding: { guided: { case: "grammar", value: 'root ::= "yes"' } } }],
  ])("says the same with %s and without", async (_, params) => {
    const [free, told] = [await ask({}), await ask(params)];
    expect([told.code, textOf(told.messages)]).toEqual([status.OK, textOf(free.messages)]);
  });

  test("samples where the adapter would be greedy, and takes what vLLM does not", async () => {
    const sampled = { method: DecodingMethod.SAMPLE, sampling: { temperature: 0, typicalP: 0.5 } };
    const [one, other] = [await ask(sampled), await ask(sampled)];
    expect([one.code, other.code]).toEqual([status.OK, status.OK]);
    expect(textOf(one.messages)).not.toBe(textOf(other.messages));
    expect((await ofIbm.call(generateStream, {})).code).toBe(status.INVALID_ARGUMENT);
  });
});

test("its contract is shown to who asks by a symbol in it", async () => {
  const shown = async (messageRequest: Request["messageRequest"]) =>
    (await calls.call(serverReflectionInfo, { messageRequest })).messages[0]?.messageResponse;
  const found = await shown({ case: "fileContainingSymbol", value: "fmaas.DecodingParameters" });
  const [file] = found?.case === "fileDescriptorResponse" ? found.value.fileDescriptorProto : [];
  expect(file && fromBinary(FileDescriptorProtoSchema, file)).toMatchObject({ package: "fmaas" });
  expect(await shown({ case: "fileContainingSymbol", value: "fmaas.Nothing" })).toMatchObject({
    case: "errorResponse",
    value: { errorCode: status.NOT_FOUND },
  });
  expect(await shown({ case: "listServices", value: "" })).toMatchObject({
    value: { service: [{ name: "fmaas.GenerationService" }] },
  });
});

test("questions are answered", async () => {
  expect((await calls.call(modelInfo, {})).messages[0]).toMatchObject({
    maxSequenceLength: 2_000,
    maxNewTokens: 2_000,
  });
  const asked = { requests: [{ text: " a weir é" }], returnTokens: true, returnOffsets: true };
  const [answer] = (await calls.call(tokenize, asked)).messages;
  expect(answer?.responses[0]).toMatchObject({
    tokenCount: 3,
    tokens: ["ĠaĠw", "eirĠ", "Ã©"],
    offsets: [{ end: 4 }, { start: 4, end: 8 }, { start: 8, end: 9 }],
  });
  const healthOf = (service: string) => calls.call(Health.method.check, { service });
  for (const service of ["", "fmaas.GenerationService"])
    expect((await healthOf(service)).messages[0]?.status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  expect((await healthOf("other")).code).toBe(status.NOT_FOUND);
});
