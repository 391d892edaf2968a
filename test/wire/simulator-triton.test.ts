import { create } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  InferParameterSchema,
  InferTensorContentsSchema,
  ModelConfigResponseSchema,
  type ModelInferRequest,
  ModelInferRequest_InferRequestedOutputTensorSchema,
  ModelMetadataResponseSchema,
  ModelReadyResponseSchema,
  RepositoryIndexResponseSchema,
} from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { Health, HealthCheckResponseSchema } from "../../gen/ts/grpc/health/v1/health_pb.ts";
import { deserializer } from "../../services/runtime/grpc-wire.ts";
import { type Simulator, startSimulator } from "../../services/simulator/simulator.ts";
import { endId } from "../../services/simulator/vocabulary.ts";
import { inferRequest, integersOf, type TensorValues, textsOf } from "../engines/triton/client.ts";
import { callTriton, drain, requestFor, type TritonCalls, tensorrt, vllm } from "./triton-calls.ts";

let simulator: Simulator;
let calls: TritonCalls;
let id = "";
let ordinal = 0;

beforeAll(async () => {
  const speed = { slots: 4, prefillMsPerToken: 0, decodeMsPerToken: 1, contextLength: 2_000 };
  simulator = await startSimulator({ speed, triton: { port: 0 } });
  calls = callTriton(simulator.grpcUrl);
});
afterAll(async () => {
  calls[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});
beforeEach(() => {
  id = `triton-${ordinal++}`;
});

const events = () => simulator.recorder.entries().filter((entry) => entry.id === id);
const request = (model: string, inputs: TensorValues, requestId = id) => requestFor(requestId, model, inputs);
const infer = (model: string, inputs: TensorValues, requestId = id) => calls.infer(request(model, inputs, requestId));

describe("questions", () => {
  test("it is healthy, and tells its models", async () => {
    const health = await calls.ask(`/${Health.typeName}/Check`, "", deserializer(HealthCheckResponseSchema));
    expect(health.status).toBe(1);
    const index = await calls.ask("RepositoryIndex", "", deserializer(RepositoryIndexResponseSchema));
    expect(index).toMatchObject({
      models: [
        { name: "ensemble", state: "READY" },
        { name: "preprocessing" },
        { name: "tensorrt_llm" },
        { name: "tensorrt_llm_bls" },
        { name: "llmapi" },
        { name: "vllm_model" },
        { name: "text_embedding" },
        { name: "token_embedding" },
      ],
    });
  });

  test("an ensemble tells its tensors with the batch, and its steps", async () => {
    const metadata = await calls.ask("ModelMetadata", "ensemble", deserializer(ModelMetadataResponseSchema));
    expect(metadata).toMatchObject({
      platform: "ensemble",
      inputs: expect.arrayContaining([
        expect.objectContaining({ name: "max_tokens", datatype: "INT32", shape: [-1n, 1n] }),
      ]),
    });
    const config = await calls.ask("ModelConfig", "ensemble", deserializer(ModelConfigResponseSchema));
    expect(config).toMatchObject({
      config: {
        maxBatchSize: 64,
        modelTransactionPolicy: { decoupled: true },
        schedulingChoice: { case: "ensembleScheduling" },
      },
    });
  });

  test("the vLLM backend has no batch", async () => {
    const config = await calls.ask("ModelConfig", "vllm_model", deserializer(ModelConfigResponseSchema));
    expect(config).toMatchObject({ config: { maxBatchSize: 0, backend: "vllm", runtime: "model.py" } });
  });

  test("an unknown model is not found, though it is said to be ready", async () => {
    await expect(calls.ask("ModelMetadata", "nope", deserializer(ModelMetadataResponseSchema))).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: expect.stringContaining("Request for unknown model: 'nope'"),
    });
  });

  test("a model that it has not is not ready, and no error", async () => {
    const ready = async (name: string) =>
      (await calls.ask("ModelReady", name, deserializer(ModelReadyResponseSchema))).ready;
    expect(await ready("ensemble")).toBe(true);
    expect(await ready("nope")).toBe(false);
  });

  test("what it does not know is unimplemented", async () => {
    await expect(calls.ask("ModelStatistics", "", () => undefined)).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
    });
  });
});

describe("the ensemble", () => {
  test("answers token by token, and says which response is the last", async () => {
    const { code, texts, finals, responses } = await infer("ensemble", tensorrt("hello"));
    expect(code).toBe(status.OK);
    expect(texts.length).toBeGreaterThan(11);
    expect(finals).toEqual([...texts.slice(1).map(() => false), true]);
    expect(responses[0]).toMatchObject({ id, modelName: "ensemble", outputs: expect.anything() });
    expect(responses[0]?.outputs.every(({ contents }) => contents === undefined)).toBe(true);
    expect(Object.keys(responses[0]?.parameters ?? {})).toContain("sequence_start");
  });

  test("says the same for the same seed, in one piece too, with the prompt unless it is left out", async () => {
    const seeded = { top_p: 1, seed: 4, max_tokens: 12 };
    const streamed = await infer("ensemble", tensorrt("hi", seeded));
    const whole = await infer("ensemble", tensorrt("hi", { ...seeded, stream: false }));
    const prompted = await infer(
      "ensemble",
      tensorrt("hi", { ...seeded, stream: false, exclude_input_in_output: false }),
    );
    const other = await infer("ensemble", tensorrt("hi", { ...seeded, seed: 5 }));
    expect(whole.texts).toHaveLength(1);
    expect(broken(whole.texts.join(""))).toBe(broken(streamed.texts.join("")));
    expect(prompted.texts[0]).toBe(`hi${whole.texts[0]}`);
    expect(other.texts).not.toEqual(streamed.texts);
  });

  test.each(["ensemble", "tensorrt_llm_bls"])(
    "of %s a temperature alone does nothing, and nothing is new",
    async (model) => {
      const said = async (more: TensorValues) => (await infer(model, tensorrt("draw", more))).texts;
      const greedy = await said({});
      expect(await said({ temperature: 1, seed: 5 })).toEqual(greedy);
      expect(await said({ temperature: 1, top_k: 1, seed: 5 })).toEqual(greedy);
      expect(await said({ temperature: 1, top_p: 1, seed: 5 })).not.toEqual(greedy);
      expect(await said({ temperature: 1, top_p: 1 })).toEqual(await said({ temperature: 1, top_p: 1 }));
    },
  );

  test("breaks characters of several tokens, the vLLM backend does not", async () => {
    const tokens = { max_tokens: 400, min_tokens: 400 };
    const { texts } = await infer("ensemble", tensorrt("characters", tokens));
    expect(texts.join("")).toContain("\uFFFD\uFFFD");
    const whole = await infer("vllm_model", vllm("characters", { ...tokens, seed: 0 }));
    expect(whole.texts.join("")).toMatch(/[éü–水🌊]/u);
    expect(whole.texts.join("").slice(0, -1)).not.toContain("\uFFFD");
  });

  test("leaves the stop word in the text", async () => {
    const { texts } = await infer("ensemble", tensorrt("stop", { top_k: 40, seed: 2 }));
    const word = texts.find((text) => /[a-z]{5}/.test(text))?.trim() ?? "";
    const at = texts.findIndex((text) => text.includes(word));
    expect(at).toBeLessThan(texts.length - 1);
    const stopped = await infer("ensemble", tensorrt("stop", { top_k: 40, seed: 2, stop_words: [word] }));
    expect(stopped.texts).toEqual(texts.slice(0, at + 1));
    expect(stopped.finals.at(-1)).toBe(true);
  });

  test("counts tokens when asked, and numbers the choices", async () => {
    const counting = { return_num_input_tokens: true, return_num_output_tokens: true, max_tokens: 3 };
    const { responses } = await infer("ensemble", tensorrt("count me", { ...counting, num_return_sequences: 2 }));
    expect(responses.flatMap((response) => integersOf(response, "num_input_tokens"))).toEqual([2, 2, 2, 2, 2, 2]);
    expect(responses.flatMap((response) => integersOf(response, "num_output_tokens"))).toEqual([1, 1, 1, 1, 1, 1]);
    expect(responses.flatMap((response) => integersOf(response, "sequence_index"))).toEqual([0, 1, 0, 1, 0, 1]);
  });

  test("gives only the outputs that were named", async () => {
    const stream = calls.stream();
    const few = request("ensemble", tensorrt("few", { max_tokens: 1 }));
    few.outputs.push(create(ModelInferRequest_InferRequestedOutputTensorSchema, { name: "text_output" }));
    stream.write(few);
    stream.end();
    const { responses } = await drain(stream);
    expect(responses[0]?.outputs.map(({ name }) => name)).toEqual(["text_output"]);
  });
});

describe("the BLS model", () => {
  test("sends the text so far, and ends with an empty response for those who ask for it", async () => {
    const { texts, finals, responses } = await infer("tensorrt_llm_bls", tensorrt("grow"));
    expect(texts.length).toBeGreaterThan(5);
    for (const [at, text] of texts.slice(1).entries())
      expect(text.startsWith((texts[at] ?? "").replace(/\uFFFD+$/, ""))).toBe(true);
    expect(finals).toEqual([...texts.map(() => false), true]);
    expect(responses.at(-1)?.outputs).toEqual([]);
    const unasked = await calls.infer(requestFor(id, "tensorrt_llm_bls", tensorrt("grow"), true));
    expect(unasked.finals).toEqual(texts.map(() => false));
  });

  test("keeps the stop word and drops what follows it", async () => {
    const schema = '{"properties":{"river":{"type":"string"}}}';
    const guided = { guided_decoding_guide_type: "json_schema", guided_decoding_guide: schema, max_tokens: 64 };
    const free = await infer("tensorrt_llm_bls", tensorrt("guided", guided));
    expect(free.texts.at(-1)).toBe('{"river":"river"}');
    const stopped = await infer("tensorrt_llm_bls", tensorrt("guided", { ...guided, stop_words: ["ver"] }));
    expect(stopped.texts.at(-1)).toBe('{"river');
    const ensemble = await infer("ensemble", tensorrt("guided", { ...guided, stop_words: ["ver"] }));
    expect(ensemble.texts.join("")).toBe('{"river"');
  });
});

describe("the core model", () => {
  const asked = (text: string, more: TensorValues = {}): ModelInferRequest => {
    const ids = [...Buffer.from(text)];
    const values: TensorValues = { input_lengths: ids.length, request_output_len: 8, end_id: endId, ...more };
    const made = requestFor(id, "tensorrt_llm", { input_ids: 0, ...values });
    const [head] = made.inputs;
    if (head) head.shape = [1n, BigInt(ids.length)];
    made.rawInputContents[0] = new Uint8Array(Int32Array.from(ids).buffer);
    return made;
  };
  const idsOf = async (...wanted: Parameters<typeof asked>) => {
    const { responses, finals, errors } = await calls.infer(asked(...wanted));
    return { ids: responses.map((response) => integersOf(response, "output_ids")), finals, errors };
  };

  test("streams new ids, as many as were asked for", async () => {
    const { ids, finals } = await idsOf("hello", { streaming: true });
    expect(ids.map(({ length }) => length)).toEqual(Array.from({ length: 8 }, () => 1));
    expect(finals.at(-1)).toBe(true);
    expect(events()[0]).toMatchObject({ event: "received", promptTokens: 5 });
  });

  test("says the same in one piece, behind the prompt unless that is excluded", async () => {
    const streamed = (await idsOf("hello", { streaming: true })).ids.flat();
    expect((await idsOf("hello")).ids).toEqual([[...Buffer.from("hello"), ...streamed]]);
    expect((await idsOf("hello", { exclude_input_in_output: true })).ids).toEqual([streamed]);
  });

  test("ends with the token that it was told of", async () => {
    const { ids } = await idsOf("[[sim text ok]]", { streaming: true });
    expect(ids.flat()).toEqual([...Buffer.from("ok"), endId]);
  });

  test("refuses ids that are not as many as it is told", async () => {
    expect((await idsOf("hello", { input_lengths: 4 })).errors[0]).toContain("input_lengths says 4");
  });
});

describe("the LLM API", () => {
  const asked = (more: TensorValues = {}): TensorValues => ({
    text_input: "hello",
    streaming: true,
    sampling_param_max_tokens: 8,
    return_finish_reason: true,
    ...more,
  });

  test("repeats its text in each response, counts nothing, and says None while it goes on", async () => {
    const { texts, finals, responses } = await infer("llmapi", asked());
    expect(texts).toHaveLength(8);
    for (const [at, text] of texts.entries()) expect(text.startsWith(texts[at - 1] ?? "")).toBe(true);
    const reasons = responses.flatMap((response) => textsOf(response, "finish_reason"));
    expect(reasons).toEqual([...Array.from({ length: 7 }, () => "None"), "length"]);
    expect(finals.indexOf(true)).toBe(7);
    expect((await infer("llmapi", asked({ streaming: false }))).errors[0] ?? "").toBe("");
  });

  test("is greedy where nothing is said", async () => {
    const said = async (more: TensorValues) => (await infer("llmapi", asked(more))).texts.at(-1);
    expect(await said({ sampling_param_seed: 7 })).toBe(await said({ sampling_param_seed: 8 }));
    const one = { sampling_param_temperature: 1 };
    expect(await said({ ...one, sampling_param_seed: 7 })).not.toBe(await said({ ...one, sampling_param_seed: 8 }));
  });

  test("ends a request when one of the same id says stop", async () => {
    const long = asked({ text_input: "[[sim length=900]] [[sim drip ms=20]] on", sampling_param_max_tokens: 900 });
    const running = infer("llmapi", long);
    await expect.poll(() => events().some(({ event }) => event === "produced")).toBe(true);
    expect((await infer("llmapi", asked({ stop: true }))).errors).toEqual(["Request cancelled by client"]);
    const { responses } = await running;
    expect(responses.flatMap((response) => textsOf(response, "finish_reason")).at(-1)).toBe("cancelled");
  });
});

describe("a request that does not fit", () => {
  const refused: { what: string; model: string; inputs: TensorValues; says: string }[] = [
    { what: "unknown model", model: "nope", inputs: tensorrt("x"), says: "Request for unknown model: 'nope'" },
    {
      what: "missing input",
      model: "ensemble",
      inputs: { text_input: "x" },
      says: "expected number of inputs between 2 and 31 but got 1 inputs for model 'ensemble'. Got input(s) ['text_input'], but missing required input(s) ['max_tokens'].",
    },
    {
      what: "unknown input",
      model: "ensemble",
      inputs: tensorrt("x", { colour: "red" }),
      says: "unexpected inference input 'colour'",
    },
    {
      what: "wrong datatype",
      model: "ensemble",
      inputs: tensorrt("x", { max_tokens: "many" }),
      says: "data-type is 'BYTES'",
    },
    { what: "missing batch dimension", model: "vllm_model", inputs: vllm("x", {}, { stream: [] }), says: "data-type" },
  ];

  test.each(refused)("$what: only its id and a text", async ({ model, inputs, says }) => {
    const { code, messages, errors, finals } = await infer(model, inputs);
    expect(code).toBe(status.OK);
    expect(errors).toEqual([expect.stringContaining(says)]);
    expect(messages[0]?.inferResponse).toMatchObject({ id, modelName: "", parameters: {} });
    expect(finals).toEqual([false]);
    expect(events()).toEqual([]);
  });

  test("a wrong shape, a reserved parameter, and both kinds of contents", async () => {
    const reserved = request("ensemble", tensorrt("x"));
    reserved.parameters["triton_x"] = create(InferParameterSchema, {
      parameterChoice: { case: "boolParam", value: true },
    });
    const mixed = request("ensemble", tensorrt("x"));
    for (const input of mixed.inputs) input.contents = create(InferTensorContentsSchema, { intContents: [1] });
    const bad: [ModelInferRequest, string][] = [
      [inferRequest("ensemble", tensorrt("x"), { requestId: id, batched: false }), "unexpected shape for input"],
      [reserved, "reserved"],
      [mixed, "must not be specified when using raw_input_contents"],
    ];
    for (const [request, says] of bad) {
      const stream = calls.stream();
      stream.write(request);
      stream.end();
      expect((await drain(stream)).errors).toEqual([expect.stringContaining(says)]);
    }
  });

  test("typed contents are as good as raw ones", async () => {
    const raw = await infer("ensemble", { text_input: "typed", max_tokens: 4, stream: true });
    const stream = calls.stream();
    stream.write({
      modelName: "ensemble",
      id,
      inputs: [
        { name: "text_input", datatype: "BYTES", shape: [1n, 1n], contents: { bytesContents: [Buffer.from("typed")] } },
        { name: "max_tokens", datatype: "INT32", shape: [1n, 1n], contents: { intContents: [4] } },
        { name: "stream", datatype: "BOOL", shape: [1n, 1n], contents: { boolContents: [true] } },
      ],
    });
    stream.end();
    expect((await drain(stream)).texts).toEqual(raw.texts);
  });

  test("a prompt over the context and a bad sampling value fail in the model, in its own words", async () => {
    const long = "x".repeat(9_000);
    const texts = await Promise.all(
      [
        infer("ensemble", tensorrt(long)),
        infer("tensorrt_llm_bls", tensorrt(long)),
        infer("vllm_model", vllm(long)),
        infer("vllm_model", vllm("x", { temperature: -1 })),
      ].map(async (outcome) => (await outcome).errors.join()),
    );
    expect(texts[0]).toMatch(/^in ensemble 'ensemble', .*Prompt length \(2250\) exceeds maximum input length \(2000\)/);
    expect(texts[1]).toMatch(/^Traceback/);
    expect(texts[2]).toMatch(/^Error generating stream: The decoder prompt \(length 2250\)/);
    expect(texts[3]).toBe("Error generating stream: temperature must be non-negative, got -1.");
  });
});

/** A character that was broken over tokens is lost in a stream. */
function broken(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, "");
}
