import { afterAll, describe, expect, test } from "vitest";
import { FinishInfo_FinishReason as FinishReason } from "../../gen/ts/engine/vllm/inference_pb.ts";
import { HealthCheckResponse_ServingStatus } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Target } from "../../services/drivers/driver.ts";
import { detectDialect } from "../../services/drivers/registry.ts";
import type { FakeCall } from "../fakes/fake-grpc.ts";
import { type FakeOpenAi, startFakeOpenAi } from "../fakes/fake-openai.ts";
import { asked, type FakeVllmOptions, output, promptInfo, startFakeVllm } from "../fakes/fake-vllm.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";
import { describeGrpcLies, openServed } from "./grpc-lies.ts";
import { calm, countAttempt, embedAttempt, numbersOf, rerankAttempt } from "./unary-calls.ts";

/** A number that the contract has no name for. */
const noReason = 99 as FinishReason;

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const serve = async (options: FakeVllmOptions, more?: Partial<Target>) =>
  openServed(Dialect.VLLM, await startFakeVllm(options), more);
const served = async (...given: Parameters<typeof serve>) => cleanup.use(await serve(...given));

const stop = { finishInfo: { finishReason: FinishReason.STOP } };

describeGrpcLies("a vLLM server that tells lies", {
  serve: (generate, more) => serve({ generate }, more),
  text: (text) => output({ text }),
  finish: () => output(stop),
  // Field 2 of the message, and in it field 2 of the output.
  textOf: (bytes) => Buffer.concat([Buffer.from([0x12, bytes.length + 2, 0x12, bytes.length]), bytes]),
});

const says = (...messages: Uint8Array[]) => {
  return (call: FakeCall) => {
    for (const message of messages) call.send(message);
    call.end();
  };
};

describe("an answer", () => {
  const ended = (finishReason: FinishReason, more: object = {}) => output({ finishInfo: { finishReason, ...more } });

  test.each<[string, (call: FakeCall) => void, string, string]>([
    [
      "was aborted, whatever the status",
      says(output({ text: "x" }), ended(FinishReason.ABORTED)),
      "ENGINE_FAILED",
      "x",
    ],
    ["ends for no reason that there is", says(output({ text: "x" }), ended(noReason)), "ENGINE_PROTOCOL", "x"],
    [
      "ends without having finished",
      says(output({ text: "x" }), ended(FinishReason.NOT_FINISHED)),
      "ENGINE_TRUNCATED",
      "x",
    ],
    ["counts the prompt, and no more", says(promptInfo(3)), "ENGINE_TRUNCATED", ""],
    ["has a choice nobody asked for", says(output({ index: 1, text: "x" })), "ENGINE_PROTOCOL", ""],
    ["is cut inside a field", (call) => (call.send(Buffer.from("12ff01", "hex")), call.end()), "ENGINE_PROTOCOL", ""],
  ])("that %s", async (_, generate, reason, said) => {
    const { driver, model } = await served({ generate });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.reason, outcome.text(), outcome.late]).toEqual([reason, said, 0]);
  });

  test("counts its parts, and the whole at its end", async () => {
    const generate = says(
      promptInfo(7),
      output({ text: "a", numTokens: 1 }),
      output({ text: "", numTokens: 2 }),
      output({ text: "b", numTokens: 1, finishInfo: { finishReason: FinishReason.LENGTH, numOutputTokens: 5 } }),
    );
    const { driver, model } = await served({ generate });
    const outcome = await run(driver, attemptAt(model));
    expect(outcome.deltas.map(({ tokens }) => tokens)).toEqual([1, 3]);
    expect([outcome.usage?.promptTokens, outcome.usage?.completionTokens, outcome.finish()]).toEqual([
      7n,
      5n,
      "LENGTH",
    ]);
  });

  test.each([
    ["negative", 2 ** 32 - 5],
    ["absurd", 2 ** 32 - 1],
  ])("with %s counts, which are no counts", async (_, count) => {
    const end = {
      text: "x",
      numTokens: count,
      finishInfo: { finishReason: FinishReason.STOP, numOutputTokens: count },
    };
    const { driver, model } = await served({ generate: says(promptInfo(count), output(end)) });
    const outcome = await run(driver, attemptAt(model));
    expect([outcome.ended, outcome.usage, outcome.tokens()]).toEqual([true, undefined, 0]);
  });

  test("whose whole is less than its parts is as much as its parts", async () => {
    const finishInfo = { finishReason: FinishReason.STOP, numOutputTokens: 1 };
    const { driver, model } = await served({ generate: says(output({ text: "x", numTokens: 4, finishInfo })) });
    expect((await run(driver, attemptAt(model))).usage?.completionTokens).toBe(4n);
  });

  test("tells the stop text that ended it, and ids that were asked for", async () => {
    const stopReason = { case: "stopString" as const, value: "END" };
    const finishInfo = { finishReason: FinishReason.STOP, stopReason };
    const { driver, model, engine } = await served({
      generate: says(output({ text: "x", tokenIds: [5, 600], finishInfo })),
    });
    const outcome = await run(driver, attemptAt(model, {}, { extras: { return_token_ids: true } }));
    expect(outcome.deltas[0]?.tokenIds).toEqual([5, 600]);
    const finished = outcome.events.flatMap(({ event }) => (event.case === "finished" ? [event.value] : []));
    expect(finished[0]?.stopSequence).toBe("END");
    expect(engine.calls.map(asked).at(-1)?.response?.outputTokenIds).toBe(true);
  });

  test.each<[number, string, string]>([
    [5, "model `x` not found", "ENGINE_UNAVAILABLE"],
    [9, "engine was not started with LoRA enabled", "ENGINE_REFUSED"],
    [13, "engine failed during generation", "ENGINE_FAILED"],
    [
      3,
      "this model's maximum context length is 8 tokens, but the prompt contains 9 input tokens",
      "CONTEXT_LENGTH_EXCEEDED",
    ],
  ])("with status %d: %s", async (code, text, reason) => {
    const { driver, model } = await served({ generate: (call) => call.end(code, text) });
    expect((await run(driver, attemptAt(model))).reason).toBe(reason);
  });

  test("with an error that names the request by our id tells nothing of it", async () => {
    const generate = (call: FakeCall) => call.end(3, "text request `0190-ab` stop strings cannot be empty");
    const { driver, model } = await served({ generate });
    const outcome = await run(driver, attemptAt(model));
    expect(outcome.failure?.facts["problem"]).toBe("the request stop strings cannot be empty");
  });
});

describe("what is sent", () => {
  const done = says(output({ text: "x", ...stop }));

  test("says what would be something else unsaid", async () => {
    const { driver, model, engine } = await served({ generate: done });
    await run(driver, attemptAt(model, { sampling: { topK: -1 } }, { maxTokens: 0, cacheSalt: "salt" }));
    await run(driver, attemptAt(model, { sampling: { temperature: 0, seed: -1n } }, { maxTokens: 9 }));
    const [plain, greedy] = engine.calls.slice(-2).map(asked);
    expect([plain?.temperature, plain?.sampling?.topK, plain?.stopping?.maxNewTokens]).toEqual([1, 0, 2_048]);
    expect([plain?.kv?.cacheSalt, plain?.sampling?.seed, plain?.model]).toEqual(["salt", undefined, "fake"]);
    expect([greedy?.temperature, greedy?.sampling?.seed, greedy?.stopping?.maxNewTokens]).toEqual([0, -1n, 9]);
  });

  test("is a prompt as text or as token ids, with an id of its own", async () => {
    const { driver, model, engine } = await served({ generate: done });
    const attempts = [
      attemptAt(model),
      attemptAt(model, { input: { case: "tokenIds", value: { ids: [1, 70_000] } } }),
      attemptAt(model, { input: { case: "conversation", value: {} } }, { prompt: "<|user|>hello" }),
    ];
    for (const attempt of attempts) expect((await run(driver, attempt)).ended).toBe(true);
    const sent = engine.calls.slice(-3).map(asked);
    expect(sent.map(({ requestId }) => requestId)).toEqual(attempts.map(({ id }) => id));
    expect(sent.map(({ prompt }) => prompt)).toMatchObject([
      { case: "text", value: "hello" },
      { case: "tokenIds", value: { ids: [1, 70_000] } },
      { case: "text", value: "<|user|>hello" },
    ]);
  });

  test("has all of our sampling", async () => {
    const { driver, model, engine } = await served({ generate: done });
    const sampling = {
      topP: 0.5,
      minP: 0.25,
      frequencyPenalty: 0.5,
      presencePenalty: -0.5,
      repetitionPenalty: 1.5,
      minTokens: 2,
      stop: ["a"],
      stopTokenIds: [7],
      ignoreEos: true,
      logitBias: { 3: -100 },
    };
    await run(driver, attemptAt(model, { sampling }));
    const sent = engine.calls.map(asked).at(-1);
    expect(sent?.sampling).toMatchObject({ topP: 0.5, minP: 0.25 });
    expect(sent?.decoding).toMatchObject({
      frequencyPenalty: 0.5,
      presencePenalty: -0.5,
      repetitionPenalty: 1.5,
      logitBias: { 3: -100 },
    });
    expect(sent?.stopping).toMatchObject({
      minNewTokens: 2,
      stopStrings: ["a"],
      stopTokenIds: [7],
      ignoreEos: true,
      includeStopStrings: false,
    });
  });

  test("has the extras that have a place, and the others are named", async () => {
    const { driver, model, engine } = await served({ generate: done });
    const extras = {
      structured_outputs: { choice: ["yes", "no"] },
      skip_special_tokens: false,
      allowed_token_ids: [1, 2],
      priority: -3,
      truncate_prompt_tokens: 4,
      best_effort: 1,
    };
    const outcome = await run(driver, attemptAt(model, {}, { extras }));
    const sent = engine.calls.map(asked).at(-1);
    expect(sent).toMatchObject({ priority: -3, truncatePromptTokens: 4, response: { skipSpecialTokens: false } });
    expect(sent?.decoding).toMatchObject({
      allowedTokenIds: [1, 2],
      structuredOutput: { case: "choice", value: { choices: ["yes", "no"] } },
    });
    expect(outcome.events[0]?.event.value).toMatchObject({ ignored: ["best_effort"] });
  });

  test("names an adapter as such", async () => {
    const info = { servedModelName: "fake", supportsTextInput: true, supportsLora: true };
    const { driver, engine } = await served({ generate: done, info, loras: ["poet"] });
    const { models } = await driver.probe(AbortSignal.timeout(5_000));
    expect(models.map(({ engineModel }) => engineModel)).toEqual(["fake", "poet"]);
    const [, poet] = models;
    if (poet) await run(driver, attemptAt(poet));
    expect(engine.calls.map(asked).at(-1)).toMatchObject({ model: "", loraName: "poet" });
  });
});

describe("a probe", () => {
  const { NOT_SERVING } = HealthCheckResponse_ServingStatus;

  test.each<[string, FakeVllmOptions, boolean]>([
    ["that says nothing of a pause", {}, true],
    ["that is awake", { paused: false, sleeping: false }, true],
    ["that is paused, and looks idle", { paused: true, sleeping: false }, false],
    ["that sleeps", { paused: false, sleeping: true }, false],
    ["that is not well", { health: NOT_SERVING }, false],
  ])("of a server %s", async (_, options, ready) => {
    const { model, engine } = await served(options);
    expect(model).toMatchObject({ engineModel: "fake", contextLength: 2_048n, ready, flavour: "vllm" });
    expect(await detectDialect(targetAt(engine.url), AbortSignal.timeout(5_000))).toBe(Dialect.VLLM);
  });

  test("finds every name of the model, and no adapters where they are off", async () => {
    const info = { servedModelName: "a", servedModelAliases: ["b", ""], supportsTextInput: true, supportsLora: true };
    const { driver } = await served({ info });
    const { models, engine } = await driver.probe(AbortSignal.timeout(5_000));
    expect(models.map(({ engineModel }) => engineModel)).toEqual(["a", "b"]);
    expect(models[0]?.features).not.toContain(Feature.TOKEN_IDS);
    expect(engine).toBe("vllm 0.32.0");
  });
});

describe("beside HTTP", () => {
  const both = async (http: FakeOpenAi, generate?: (call: FakeCall) => void) =>
    served(generate ? { generate } : {}, { httpUrl: http.url });
  const routes = {
    "/v1/models": { object: "list", data: [{ id: "fake", object: "model", owned_by: "vllm" }] },
    "/version": { version: "0.32.0" },
    "/health": "",
    "/metrics": 'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_waiting{engine="0"} 1\n',
  };

  test("what gRPC lacks goes over HTTP, and everything else over gRPC", async () => {
    const http = cleanup.use(
      await startFakeOpenAi({
        routes,
        generate: (exchange) => {
          exchange.startStream();
          exchange.event({ choices: [{ index: 0, delta: { content: "http" }, text: "http", finish_reason: "stop" }] });
          exchange.done();
        },
      }),
    );
    const { driver, model } = await both(http, says(output({ text: "grpc", ...stop })));
    const text = async (...given: Parameters<typeof attemptAt> extends [unknown, ...infer R] ? R : never) =>
      (await run(driver, attemptAt(model, ...given))).text();
    expect(await text()).toBe("grpc");
    expect(await text({ input: { case: "tokenIds", value: { ids: [1] } } })).toBe("grpc");
    const conversation = { case: "conversation" as const, value: { messages: [] } };
    expect(await text({ input: conversation })).toBe("http");
    expect(await text({ input: conversation }, { prompt: "rendered" })).toBe("grpc");
    expect(await text({ logprobs: { top: 1 } })).toBe("http");
    expect(await text({ echo: true })).toBe("http");
    expect(http.requests.map(({ path }) => path)).toEqual([
      "/v1/chat/completions",
      "/v1/completions",
      "/v1/completions",
    ]);
  });

  test("so do embeddings, rankings and counts of tokens, which gRPC alone has not", async () => {
    const bodies: Readonly<Record<string, object>> = {
      "/v1/embeddings": { data: [{ index: 0, embedding: [1, 2] }] },
      "/v1/rerank": { results: [{ index: 0, relevance_score: 1 }] },
      "/tokenize": { count: 4 },
    };
    const http = cleanup.use(
      await startFakeOpenAi({
        routes,
        generate: ({ path, response }) =>
          void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(bodies[path])),
      }),
    );
    const { driver, model } = await both(http);
    expect(model.features).toEqual(expect.arrayContaining([Feature.EMBED, Feature.RERANK, Feature.COUNT_TOKENS]));
    expect((await driver.embed?.(embedAttempt(["x"], { model }), calm))?.vectors.map(numbersOf)).toEqual([[1, 2]]);
    expect((await driver.rerank?.(rerankAttempt("q", ["a"], model), calm))?.scores).toEqual([1]);
    expect(await driver.countTokens?.(countAttempt({ case: "prompt", value: "x" }, model), calm)).toBe(4);
    const alone = await served({});
    expect(alone.model.features).not.toContain(Feature.EMBED);
    expect(alone.driver.embed).toBeUndefined();
  });

  test("the probe tells what either can, and the load", async () => {
    const http = cleanup.use(await startFakeOpenAi({ routes }));
    const { driver, model } = await both(http);
    for (const feature of [Feature.CONVERSATION, Feature.TOOLS, Feature.LOGPROBS, Feature.TOKEN_IDS, Feature.PROMPT])
      expect(model.features).toContain(feature);
    expect(model.features).not.toContain(Feature.CHOICES);
    const { load } = await driver.probe(AbortSignal.timeout(5_000));
    expect(load).toMatchObject({ running: 3, waiting: 1 });
  });

  test("a server whose HTTP is not well is not ready", async () => {
    const unwell = (response: { writeHead(code: number): { end(): void } }) => response.writeHead(503).end();
    const http = cleanup.use(await startFakeOpenAi({ routes: { ...routes, "/health": unwell } }));
    expect((await both(http)).model.ready).toBe(false);
  });

  test("a server whose HTTP does not know the model is as good as gRPC alone", async () => {
    const others = { ...routes, "/v1/models": { object: "list", data: [{ id: "other", owned_by: "vllm" }] } };
    const { model } = await both(cleanup.use(await startFakeOpenAi({ routes: others })));
    expect(model.features).not.toContain(Feature.CONVERSATION);
  });

  test("a server whose HTTP does not answer is not there", async () => {
    await expect(served({}, { httpUrl: "http://127.0.0.1:1" })).rejects.toThrow("could not be reached");
  });
});
