import { status } from "@grpc/grpc-js";
import { afterAll, describe, expect, test } from "vitest";
import { DecodingMethod, StopReason } from "../../gen/ts/engine/tgis/generation_pb.ts";
import { HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Target } from "../../services/drivers/driver.ts";
import { detectDialect } from "../../services/drivers/registry.ts";
import type { FakeCall } from "../fakes/fake-grpc.ts";
import {
  adapterContract,
  asked,
  askedAtOnce,
  batch,
  type Contract,
  type FakeTgisOptions,
  ibmContract,
  part,
  startFakeTgis,
} from "../fakes/fake-tgis.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";
import { describeGrpcLies, openServed } from "./grpc-lies.ts";

/** A number that the contract has no name for. */
const noReason = 99 as StopReason;

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const serve = async (options: FakeTgisOptions, more?: Partial<Target>) =>
  openServed(Dialect.TGIS, await startFakeTgis(options), more);

const served = async (options: FakeTgisOptions) => cleanup.use(await serve(options));

describeGrpcLies("a TGIS server that tells lies", {
  serve: (generate, more) => serve({ generate }, more),
  text: (text) => part({ text }),
  finish: () => part({ stopReason: StopReason.EOS_TOKEN }),
  textOf: (bytes) => Buffer.concat([Buffer.from([0x22, bytes.length]), bytes]),
});

const says = (...parts: Parameters<typeof part>[0][]) => {
  return (call: FakeCall) => {
    for (const each of parts) call.send(part(each));
    call.end();
  };
};

describe("an answer", () => {
  test.each<[string, (call: FakeCall) => void, string, string]>([
    ["is cancelled", says({ text: "x" }, { stopReason: StopReason.CANCELLED }), "ENGINE_FAILED", "x"],
    ["failed", says({ text: "x" }, { stopReason: StopReason.ERROR }), "ENGINE_FAILED", "x"],
    ["ends for no reason that there is", says({ text: "x" }, { stopReason: noReason }), "ENGINE_PROTOCOL", "x"],
    ["never finishes", says({ inputTokenCount: 3 }, { text: "x" }), "ENGINE_TRUNCATED", "x"],
  ])("that %s", async (_, generate, reason, said) => {
    const { driver, model } = await served({ generate });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.reason, outcome.text(), outcome.late]).toEqual([reason, said, 0]);
  });

  test.each([
    [
      "at once, of several prompts",
      batch({ text: "a", stopReason: 2 }, { text: "b", stopReason: 2 }),
      "ENGINE_PROTOCOL",
    ],
    ["at once, of none", batch(), "ENGINE_TRUNCATED"],
    ["at once, without a reason", batch({ text: "a" }), "ENGINE_TRUNCATED"],
  ])("%s", async (_, bytes, reason) => {
    const { driver, model } = await served({ generate: (call) => (call.send(bytes), call.end()) });
    expect((await run(driver, attemptAt(model, { stream: false }))).reason).toBe(reason);
  });

  test("counts by the field, whatever the messages are", async () => {
    const end = { text: "d", generatedTokenCount: 6, stopReason: StopReason.MAX_TOKENS };
    const generate = says(
      { inputTokenCount: 7 },
      { text: "a", generatedTokenCount: 1 },
      { text: "bc", generatedTokenCount: 5 },
      end,
    );
    const { driver, model } = await served({ generate });
    const outcome = await run(driver, attemptAt(model));
    expect(outcome.deltas.map(({ tokens }) => tokens)).toEqual([1, 4, 1]);
    expect([outcome.usage?.promptTokens, outcome.usage?.completionTokens, outcome.finish()]).toEqual([
      7n,
      6n,
      "LENGTH",
    ]);
  });

  test.each([
    ["negative", 2 ** 32 - 5],
    ["absurd", 2 ** 32 - 1],
  ])("with a %s count, which is no count", async (_, count) => {
    const end = { text: "x", inputTokenCount: count, generatedTokenCount: count, stopReason: StopReason.EOS_TOKEN };
    const { driver, model } = await served({ generate: says(end) });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.ended, outcome.usage, outcome.tokens()]).toEqual([true, undefined, 0]);
  });

  test("with counts that go down, which are no counts", async () => {
    const end = { text: "c", generatedTokenCount: 1, stopReason: StopReason.EOS_TOKEN };
    const { driver, model } = await served({ generate: says({ text: "ab", generatedTokenCount: 4 }, end) });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.usage?.completionTokens, outcome.tokens()]).toEqual([4n, 4]);
  });
});

describe("an exception in the adapter is UNKNOWN, and its class tells whose fault it is", () => {
  test.each([
    ["ValueError", "The decoder prompt cannot be empty", "ENGINE_REFUSED"],
    ["ValueError", "Request id x already running.", "ENGINE_REFUSED"],
    ["RuntimeError", "CUDA error: an illegal memory access was encountered", "ENGINE_FAILED"],
    ["vllm.v1.engine.exceptions.EngineDeadError", "EngineCore encountered an issue.", "ENGINE_UNAVAILABLE"],
    ["torch.OutOfMemoryError", "CUDA out of memory.", "ENGINE_OVERLOADED"],
  ])("%s: %s", async (name, text, reason) => {
    const generate = (call: FakeCall) => call.end(2, `Unexpected <class '${name}'>: ${text}`);
    const { driver, model } = await served({ generate });
    const outcome = await run(driver, attemptAt(model));
    expect(outcome.reason).toBe(reason);
    if (outcome.failure?.facts["problem"]) expect(outcome.failure.facts["problem"]).toBe(text);
  });
});

describe("what is sent", () => {
  const done = says({ text: "x", stopReason: StopReason.EOS_TOKEN });

  test("is greedy only for a temperature of 0, and leaves out what was not said", async () => {
    const { driver, model, engine } = await served({ generate: done });
    await run(driver, attemptAt(model, { sampling: { temperature: 0 } }));
    await run(driver, attemptAt(model, { sampling: { seed: -1n, topK: -1, stop: ["END"] } }, { maxTokens: 9 }));
    const [greedy, sampled] = engine.calls.slice(-2).map((call) => asked(call).params);
    expect([greedy?.method, greedy?.stopping?.includeStopSequence]).toEqual([DecodingMethod.GREEDY, false]);
    expect([sampled?.method, sampled?.sampling?.temperature]).toEqual([DecodingMethod.SAMPLE, undefined]);
    expect([sampled?.sampling?.seed, sampled?.sampling?.topK]).toEqual([2n ** 64n - 1n, 0]);
    expect([sampled?.stopping?.maxNewTokens, sampled?.stopping?.stopSequences]).toEqual([9, ["END"]]);
  });

  test("has an id of its own, in the metadata", async () => {
    const { driver, model, engine } = await served({
      generate: (call) => (call.send(batch({ stopReason: 2 })), call.end()),
    });
    const attempts = [attemptAt(model, { stream: false }), attemptAt(model, { stream: false })];
    for (const attempt of attempts) expect((await run(driver, attempt)).ended).toBe(true);
    const sent = engine.calls.slice(-2);
    expect(sent.map(({ headers }) => headers["x-correlation-id"])).toEqual(attempts.map(({ id }) => id));
    expect(sent.map((call) => askedAtOnce(call).requests.map(({ text }) => text))).toEqual([["hello"], ["hello"]]);
  });

  test("is at most what the server gives, unless the caller asked for more", async () => {
    const { driver, model, engine } = await served({ generate: done, maxNewTokens: 100 });
    await run(driver, attemptAt(model, {}, { maxTokens: 2_000 }));
    await run(driver, attemptAt(model, { sampling: { maxTokens: 500 } }, { maxTokens: 500 }));
    await run(driver, attemptAt(model, {}, { maxTokens: 0 }));
    const sent = engine.calls.slice(-3).map((call) => asked(call).params?.stopping?.maxNewTokens);
    expect(sent).toEqual([100, 500, 100]);
  });

  test("has the form of the answer, the request's own first, and extras that have a place", async () => {
    const { driver, model, engine } = await served({ generate: done });
    const extras = { structured_outputs: { regex: "a+" }, truncate_prompt_tokens: 5, guided_whatever: 1 };
    const outcome = await run(driver, attemptAt(model, {}, { extras }));
    const format = { form: { case: "jsonSchema" as const, value: { name: "n", schemaJson: '{"type":"string"}' } } };
    await run(driver, attemptAt(model, { responseFormat: format }, { extras }));
    const [byExtras, byFormat] = engine.calls.slice(-2).map((call) => asked(call).params);
    expect([byExtras?.decoding?.guided, byExtras?.truncateInputTokens]).toEqual([{ case: "regex", value: "a+" }, 5]);
    expect(byFormat?.decoding?.guided).toEqual({ case: "jsonSchema", value: '{"type":"string"}' });
    expect(outcome.events[0]?.event.value).toMatchObject({ ignored: ["guided_whatever"] });
  });

  test("has six stop texts of 240 bytes; the driver keeps the others itself, and stops the engine", async () => {
    const long = "y".repeat(300);
    const stops = [long, "1", "2", "3", "4", "5", "6", "END"];
    const { driver, model, engine } = await served({
      generate: (call) => {
        for (const text of ["the E", "N", "D of it"]) call.send(part({ text }));
      },
    });
    const outcome = await run(driver, attemptAt(model, { sampling: { stop: stops } }));
    expect([outcome.text(), outcome.finish(), outcome.ended]).toEqual(["the ", "STOP", true]);
    const call = engine.calls.at(-1);
    await call?.cancelled;
    expect(call && asked(call).params?.stopping?.stopSequences).toEqual(["1", "2", "3", "4", "5", "6"]);
  });

  test.each([
    ["min_p", { minP: 0.1 }],
    ["frequency_penalty", { frequencyPenalty: -1 }],
    ["presence_penalty", { presencePenalty: 1 }],
    ["stop_token_ids", { stopTokenIds: [2] }],
    ["ignore_eos", { ignoreEos: true }],
    ["logit_bias", { logitBias: { 1: 2 } }],
  ])("is nothing where %s has no place", async (param, sampling) => {
    const { driver, model, engine } = await served({ generate: done });
    const before = engine.calls.length;
    const outcome = await run(driver, attemptAt(model, { sampling }));
    expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", param]);
    expect(engine.calls.length).toBe(before);
  });
});

describe("log probabilities", () => {
  const tokens = (...pieces: string[]) =>
    pieces.map((text) => ({ text, logprob: -1, topTokens: [{ text, logprob: -1 }] }));

  test.each([
    ["byte-level", ["ĠaĠ", "weir"], ["Ġriver", "Ã©", "<|end▁of▁text|>"], [" river", "é", "<|end▁of▁text|>"]],
    ["with marks for spaces", ["▁a", "▁weir"], ["▁river", "<0x0A>", "é"], [" river", "\n", "é"]],
  ])("of a vocabulary that is %s are told as text", async (_, pieces, raw, texts) => {
    const generate = says({ text: "x", tokens: tokens(...raw), stopReason: StopReason.EOS_TOKEN });
    const { driver, model } = await served({ generate, pieces });
    expect(model.features).toContain(Feature.LOGPROBS);
    const outcome = await run(driver, attemptAt(model, { logprobs: { top: 1 } }));
    const told = outcome.deltas.flatMap(({ logprobs }) => logprobs);
    expect(told.map(({ token }) => token)).toEqual(texts);
    expect(told.map(({ top }) => top[0]?.token)).toEqual(texts);
  });

  test("of less than nothing are a number", async () => {
    const impossible = [{ text: "x", logprob: Number.NEGATIVE_INFINITY }];
    const generate = says({ text: "x", tokens: impossible, stopReason: StopReason.EOS_TOKEN });
    const { driver, model } = await served({ generate, pieces: ["Ġa"] });
    const outcome = await run(driver, attemptAt(model, { logprobs: { top: 0 } }));
    expect(outcome.deltas[0]?.logprobs[0]?.logprob).toBe(-9_999);
  });

  test.each([
    ["of a vocabulary that is not known", undefined, 1],
    ["with more alternatives than there are", ["Ġa"], 11],
  ])("%s are refused", async (_, pieces, top) => {
    const { driver, model } = await served(pieces ? { pieces } : {});
    const outcome = await run(driver, attemptAt(model, { logprobs: { top } }));
    expect([outcome.reason, outcome.failure?.facts["param"]]).toEqual(["UNSUPPORTED", "logprobs"]);
  });
});

describe("a probe", () => {
  test.each([
    ["without a health check", undefined, true],
    ["that is well", HealthCheckResponse_ServingStatus.SERVING, true],
    ["that is not well", HealthCheckResponse_ServingStatus.NOT_SERVING, false],
  ])("of a server %s", async (_, health, ready) => {
    const { model, engine } = await served(health === undefined ? {} : { health });
    expect(model).toMatchObject({ engineModel: "tgis", contextLength: 2_048n, ready });
    const found = await detectDialect(targetAt(engine.url), AbortSignal.timeout(5_000));
    expect(found).toBe(Dialect.TGIS);
  });
});

describe("the forms of an answer", () => {
  const forms: readonly Feature[] = [Feature.JSON_SCHEMA, Feature.JSON_OBJECT, Feature.PATTERN, Feature.GRAMMAR];
  const done = says({ text: "x", stopReason: StopReason.EOS_TOKEN });
  const empty = new Uint8Array();

  test.each<[string, Contract, readonly Feature[]]>([
    ["has them in its contract", () => [adapterContract], forms],
    ["has them in a file beside others", () => [empty, adapterContract], forms],
    ["has them not in its contract", () => [ibmContract()], []],
    ["shows nobody a contract", () => status.UNIMPLEMENTED, []],
    ["shows its contract to others", () => status.PERMISSION_DENIED, []],
    ["does not know the parameters", () => [], []],
  ])("are those of a server that %s", async (_, contract, has) => {
    const { model } = await served({ contract });
    expect(forms.filter((form) => model.features.includes(form))).toEqual(has);
    expect(model.features).toContain(Feature.PROMPT);
  });

  test("are asked for by the name of the parameters", async () => {
    const symbols: string[] = [];
    await served({ contract: (symbol) => (symbols.push(symbol), [adapterContract]) });
    expect(symbols).toEqual(["fmaas.DecodingParameters"]);
  });

  test.each<[string, Contract, ErrorReason]>([
    ["a contract that is none", () => [Uint8Array.of(0xff)], ErrorReason.ENGINE_PROTOCOL],
    ["nothing for now", () => status.UNAVAILABLE, ErrorReason.ENGINE_UNAVAILABLE],
  ])("are not known of a server that shows %s", async (_, contract, reason) => {
    await expect(serve({ contract })).rejects.toMatchObject({ reason });
  });

  test("are never sent to a server that would drop them, and half as many alternatives are", async () => {
    const ibm = () => status.UNIMPLEMENTED;
    const { driver, model, engine } = await served({ generate: done, pieces: ["Ġa"], contract: ibm });
    const before = engine.calls.length;
    const extras = { structured_outputs: { regex: "a+" } };
    const format = { form: { case: "jsonObject" as const, value: {} } };
    const refused = [
      await run(driver, attemptAt(model, {}, { extras })),
      await run(driver, attemptAt(model, { responseFormat: format })),
      await run(driver, attemptAt(model, { logprobs: { top: 6 } })),
    ];
    expect(refused.map(({ reason, failure }) => [reason, failure?.facts["param"]])).toEqual([
      ["UNSUPPORTED", "structured_outputs"],
      ["UNSUPPORTED", "response_format"],
      ["UNSUPPORTED", "logprobs"],
    ]);
    expect(engine.calls.length).toBe(before);
    expect((await run(driver, attemptAt(model, { logprobs: { top: 5 } }))).ended).toBe(true);
  });
});
