import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ModelMetadataResponseSchema } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { ModelConfigSchema } from "../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature, ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { coreCandidates, takesStop } from "../../services/drivers/triton/behind.ts";
import {
  type Behind,
  featuresOf,
  flavourOf,
  interfaceOf,
  type TritonInterface,
} from "../../services/drivers/triton/flavour.ts";
import type { InferRequest } from "../../services/drivers/triton/inputs.ts";
import { llmapiRequest } from "../../services/drivers/triton/request-llmapi.ts";
import { tensorrtRequest } from "../../services/drivers/triton/request-tensorrt.ts";
import { vllmRequest } from "../../services/drivers/triton/request-vllm.ts";
import { attemptAt } from "../wire/attempts.ts";

const tensor = (name: string, datatype = "BYTES") => ({ name, datatype, shape: [-1n, -1n] });
const metadata = (inputs: string[], outputs = ["text_output"]) =>
  create(ModelMetadataResponseSchema, {
    inputs: inputs.map((name) => tensor(name)),
    outputs: outputs.map((name) => tensor(name)),
  });
const nothing: Behind = { stopModel: "", grammar: false, counter: "" };
const config = (init: MessageInitShape<typeof ModelConfigSchema> = {}) => create(ModelConfigSchema, init);
const ensembleConfig = config({
  schedulingChoice: {
    case: "ensembleScheduling",
    value: {
      step: [
        { modelName: "pre", inputMap: { QUERY: "text_input" } },
        { modelName: "core", inputMap: { input_ids: "_ids" } },
      ],
    },
  },
});

describe("a model's flavour is found by its inputs", () => {
  test.each([
    ["the ensemble", metadata(["text_input", "max_tokens", "stream"]), ensembleConfig, "ensemble"],
    ["BLS", metadata(["text_input", "max_tokens", "stream"]), config(), "bls"],
    ["the vLLM backend", metadata(["text_input", "stream", "sampling_parameters"]), config(), "vllm"],
    ["the core", metadata(["input_ids", "input_lengths", "request_output_len"], ["output_ids"]), config(), undefined],
    ["preprocessing", metadata(["QUERY", "REQUEST_OUTPUT_LEN"], ["INPUT_ID"]), config(), undefined],
    ["the LLM API", metadata(["text_input", "streaming", "sampling_param_max_tokens"]), config(), "llmapi"],
    ["an embedding model", metadata(["text_input", "max_tokens"], ["embedding"]), config(), undefined],
  ])("%s", (_, described, configured, flavour) => {
    expect(flavourOf(described, configured)).toBe(flavour);
  });

  test.each([
    ["true", "cumulative"],
    ["True", "cumulative"],
    ["false", "delta"],
    ["${accumulate_tokens}", "unknown"],
    [undefined, "unknown"],
  ])("BLS with accumulate_tokens %s sends %s texts", (value, mode) => {
    const parameters = value === undefined ? {} : { accumulate_tokens: { stringValue: value } };
    expect(interfaceOf(metadata(["text_input", "max_tokens"]), config({ parameters }), nothing)?.textMode).toBe(mode);
  });

  test("the step that can be told to stop is one that takes token ids", () => {
    expect(coreCandidates("ensemble", ensembleConfig)).toEqual(["core"]);
    expect(takesStop(metadata(["input_ids", "input_lengths", "request_output_len", "stop"]))).toBe(true);
    expect(takesStop(metadata(["input_ids", "input_lengths", "request_output_len"]))).toBe(false);
  });

  test("the LLM API streams where it is decoupled, and hears a cancel", () => {
    expect(featuresOf(llmapi)).toEqual([Feature.PROMPT, Feature.STREAM, Feature.CANCEL]);
    expect(featuresOf({ ...llmapi, decoupled: false })).toEqual([Feature.PROMPT, Feature.CANCEL]);
    expect(interfaceOf(metadata(["text_input", "sampling_param_max_tokens"]), config(), nothing)).toMatchObject({
      textMode: "unknown",
      stopModel: "",
    });
  });

  test("an ensemble that cannot be stopped says so", () => {
    const described = metadata(["text_input", "max_tokens"]);
    const features = (stopModel: string) => {
      const model = interfaceOf(described, ensembleConfig, { ...nothing, stopModel });
      return model ? featuresOf(model) : [];
    };
    expect(features("core")).toContain(Feature.CANCEL);
    expect(features("")).not.toContain(Feature.CANCEL);
  });
});

const trtInputs = {
  text_input: "BYTES",
  max_tokens: "INT32",
  stream: "BOOL",
  temperature: "FP32",
  top_p: "FP32",
  seed: "UINT64",
  stop_words: "BYTES",
};
const trt = (inputs: Record<string, string> = trtInputs): TritonInterface => ({
  flavour: "ensemble",
  batched: true,
  decoupled: true,
  inputs,
  outputs: ["text_output"],
  textMode: "delta",
  stopModel: "",
  counter: "",
});
const vllm: TritonInterface = {
  ...trt({ text_input: "BYTES", stream: "BOOL", sampling_parameters: "BYTES" }),
  flavour: "vllm",
  batched: false,
};
const llmapi: TritonInterface = {
  ...trt({
    text_input: "BYTES",
    streaming: "BOOL",
    sampling_param_max_tokens: "INT32",
    sampling_param_temperature: "FP32",
    sampling_param_seed: "UINT64",
    sampling_param_stop: "BYTES",
    sampling_param_exclude_input_from_output: "BOOL",
    return_finish_reason: "BOOL",
  }),
  flavour: "llmapi",
  batched: false,
};
const builders = { ensemble: tensorrtRequest, bls: tensorrtRequest, llmapi: llmapiRequest, vllm: vllmRequest };
const replicaModel = create(ReplicaModelSchema, { engineModel: "the-model" });

type RequestInit = Parameters<typeof attemptAt>[1];

function built(model: TritonInterface, request: RequestInit, more = {}) {
  const attempt = attemptAt(replicaModel, request, more);
  return builders[model.flavour]({ attempt, model, prompt: "hello", stream: true });
}

/** Inputs as name, datatype, shape and raw bytes. */
function inputsOf(request: InferRequest, encoding: "latin1" | "hex" = "latin1"): Record<string, string> {
  return Object.fromEntries(
    (request.inputs ?? []).map((input, at) => [
      input.name ?? "",
      `${input.datatype} [${input.shape?.join()}] ${Buffer.from(request.rawInputContents?.[at] ?? [])
        .toString(encoding)
        .replace(/[^\x20-\x7e]/g, ".")}`,
    ]),
  );
}

describe("a request for TensorRT-LLM", () => {
  test("has the inputs that the model declares, with a batch dimension", () => {
    const request = built(
      trt(),
      { sampling: { temperature: 0.5, topP: 1, seed: -1n, stop: ["a", "bc"] } },
      { id: "id-1" },
    );
    if (request.kind !== "request") throw new Error("unsupported");
    expect([request.request.modelName, request.request.id, request.maxTokens]).toEqual(["the-model", "id-1", 16]);
    expect(inputsOf(request.request)).toEqual({
      text_input: "BYTES [1,1] ....hello",
      max_tokens: "INT32 [1,1] ....",
      stream: "BOOL [1,1] .",
      temperature: "FP32 [1,1] ...?",
      top_p: "FP32 [1,1] ...?",
      seed: "UINT64 [1,1] ........",
      stop_words: "BYTES [1,2] ....a....bc",
    });
  });

  test.each<[string, NonNullable<RequestInit>["sampling"]]>([
    ["top_k", { topK: 5 }],
    ["min_p", { minP: 0.1 }],
    ["frequency_penalty", { frequencyPenalty: 1 }],
    ["presence_penalty", { presencePenalty: 1 }],
    ["repetition_penalty", { repetitionPenalty: 1.1 }],
    ["min_tokens", { minTokens: 1 }],
    ["stop_token_ids", { stopTokenIds: [1] }],
    ["ignore_eos", { ignoreEos: true }],
  ])("refuses %s where the model has no input for it", (param, sampling) => {
    expect(built(trt(), { sampling })).toEqual({ kind: "unsupported", param });
  });

  test("leaves out what has no effect", () => {
    const sampling = { topK: -1, minP: 0, frequencyPenalty: 0, presencePenalty: 0, repetitionPenalty: 1, minTokens: 0 };
    expect(built(trt(), { sampling, choices: 1 })).toMatchObject({ kind: "request" });
  });

  const explicit = { ...trtInputs, top_k: "INT32" };
  const sent = (sampling: NonNullable<RequestInit>["sampling"], id = "id-1") => {
    const request = built(trt(explicit), { sampling }, { id });
    if (request.kind !== "request") throw new Error("unsupported");
    const { temperature, top_p, top_k, seed } = inputsOf(request.request, "hex");
    return { temperature, top_p, top_k, seed };
  };
  const one = { float: "FP32 [1,1] 0000803f", integer: "INT32 [1,1] 01000000" };

  test("draws at a temperature of 1 where nothing is said, each time with another seed", () => {
    const first = sent({});
    expect(first).toEqual({ temperature: one.float, top_p: one.float, top_k: undefined, seed: expect.any(String) });
    expect(sent({}).seed).toBe(first.seed);
    expect(sent({}, "id-2").seed).not.toBe(first.seed);
  });

  test.each([
    ["a temperature alone draws from all tokens", { temperature: 0.5 }, { top_p: one.float }],
    ["top_k of all tokens is none", { topK: -1 }, { top_p: one.float, top_k: "INT32 [1,1] 00000000" }],
    ["top_k is enough", { topK: 1 }, { top_p: undefined, top_k: one.integer }],
    ["top_p is enough", { topP: 0.5 }, { top_p: "FP32 [1,1] 0000003f", top_k: undefined }],
    ["a temperature of 0 is the likeliest token", { temperature: 0 }, { top_p: undefined, top_k: one.integer }],
    ["whatever else is said", { temperature: 0, topP: 0.5, topK: 5 }, { top_p: undefined, top_k: one.integer }],
  ])("%s", (_, sampling, inputs) => {
    expect(sent(sampling)).toMatchObject(inputs);
  });

  test("what nobody asked for is left out where the model has no input for it", () => {
    const bare = trt({ text_input: "BYTES", max_tokens: "INT32", temperature: "FP32" });
    expect(built(bare, {})).toMatchObject({ kind: "request" });
    expect(built(bare, { sampling: { temperature: 0 } })).toMatchObject({ kind: "request" });
    expect(built(bare, { sampling: { seed: 1n } })).toEqual({ kind: "unsupported", param: "seed" });
  });

  test("uses the older names of inputs", () => {
    const request = built(
      trt({ text_input: "BYTES", max_tokens: "INT32", random_seed: "UINT64", min_length: "INT32" }),
      { sampling: { seed: 1n, minTokens: 2 } },
    );
    expect(request.kind === "request" && Object.keys(inputsOf(request.request))).toEqual([
      "text_input",
      "max_tokens",
      "random_seed",
      "min_length",
    ]);
  });

  test("says which extras it has no place for", () => {
    const extras = { bad_words: ["x"], length_penalty: 1, user: "me" };
    const request = built(trt({ ...trtInputs, bad_words: "BYTES" }), {}, { extras });
    expect(request).toMatchObject({ kind: "request", ignored: ["length_penalty", "user"] });
  });
});

describe("a request for the LLM API", () => {
  test("has its own names of inputs, and a temperature, without which it would be greedy", () => {
    const request = built(llmapi, { sampling: { seed: 1n, stop: ["a", "bc"] } }, { extras: { user: "me" } });
    if (request.kind !== "request") throw new Error("unsupported");
    expect(inputsOf(request.request)).toEqual({
      text_input: "BYTES [1] ....hello",
      sampling_param_max_tokens: "INT32 [1] ....",
      streaming: "BOOL [1] .",
      sampling_param_exclude_input_from_output: "BOOL [1] .",
      return_finish_reason: "BOOL [1] .",
      sampling_param_temperature: "FP32 [1] ...?",
      sampling_param_seed: "UINT64 [1] ........",
      sampling_param_stop: "BYTES [2] ....a....bc",
    });
    expect(request.ignored).toEqual(["user"]);
    expect(built(llmapi, { stream: false })).toMatchObject({ kind: "request" });
  });

  test.each<[string, NonNullable<RequestInit>["sampling"]]>([
    ["top_p", { topP: 0.5 }],
    ["min_p", { minP: 0.1 }],
    ["repetition_penalty", { repetitionPenalty: 1.1 }],
    ["min_tokens", { minTokens: 1 }],
    ["ignore_eos", { ignoreEos: true }],
  ])("refuses %s where the model has no input for it", (param, sampling) => {
    expect(built(llmapi, { sampling })).toEqual({ kind: "unsupported", param });
  });

  test("refuses a temperature that there is no input for, and makes up none", () => {
    const bare = { ...llmapi, inputs: { text_input: "BYTES", sampling_param_max_tokens: "INT32" } };
    expect(built(bare, { sampling: { temperature: 0.5 } })).toEqual({ kind: "unsupported", param: "temperature" });
    expect(built(bare, {})).toMatchObject({ kind: "request" });
  });
});

describe("the form of an answer, for TensorRT-LLM", () => {
  const text = (value: string) =>
    `BYTES [1,1] ${String.fromCharCode(value.length).replace(/[^\x20-\x7e]/, ".")}...${value}`;
  const inputs = (more: Record<string, string>) => trt({ text_input: "BYTES", max_tokens: "INT32", ...more });
  const guides = { guided_decoding_guide_type: "BYTES", guided_decoding_guide: "BYTES" };
  const schema = (schemaJson: string) => ({ case: "jsonSchema" as const, value: { name: "x", schemaJson } });
  const object = { case: "jsonObject" as const, value: {} };

  test.each([
    ["an object", { form: object }, undefined, "json", undefined],
    ["a schema", { form: schema('{"type":"null"}') }, undefined, "json_schema", '{"type":"null"}'],
    ["a schema that says nothing", { form: schema("") }, undefined, "json_schema", "{}"],
    ["a schema of the extras", undefined, { json: { type: "null" } }, "json_schema", '{"type":"null"}'],
    ["a pattern", undefined, { regex: "a+" }, "regex", "a+"],
    ["a list of texts", undefined, { choice: ["a.b", "c"] }, "regex", "(?:a\\.b)|(?:c)"],
    ["a grammar", undefined, { grammar: 'root ::= "a"' }, "ebnf_grammar", 'root ::= "a"'],
  ])("%s", (_name, responseFormat, given, type, guide) => {
    const extras = { user: "me", ...(given ? { structured_outputs: given } : {}) };
    const request = built(inputs(guides), responseFormat ? { responseFormat } : {}, { extras });
    if (request.kind !== "request") throw new Error("unsupported");
    const sent = inputsOf(request.request);
    expect(sent["guided_decoding_guide_type"]).toBe(text(type));
    expect(sent["guided_decoding_guide"]).toBe(guide && text(guide));
    expect(request.ignored).toEqual(["user"]);
  });

  test("a model without the inputs is told nothing, and what the extras wanted is named", () => {
    const request = built(inputs({}), {}, { extras: { structured_outputs: { grammar: "x" } } });
    expect(request).toMatchObject({ kind: "request", ignored: ["structured_outputs"] });
  });
});

describe("a request for the vLLM backend", () => {
  test("has its sampling parameters in one JSON text, and no batch dimension", () => {
    const request = built(
      vllm,
      {
        sampling: { temperature: 0, topK: -1, seed: 2n ** 60n + 1n, stop: ["x"], logitBias: { 5: 1 }, ignoreEos: true },
        responseFormat: { form: { case: "jsonObject", value: {} } },
      },
      { extras: { skip_special_tokens: false, max_tokens: 9, user: "me" } },
    );
    if (request.kind !== "request") throw new Error("unsupported");
    const sent = inputsOf(request.request)["sampling_parameters"] ?? "";
    expect(inputsOf(request.request)["text_input"]).toBe("BYTES [1] ....hello");
    expect(JSON.parse(sent.slice(sent.indexOf("{")))).toEqual({
      temperature: 0,
      top_k: 0,
      seed: 1,
      stop: ["x"],
      logit_bias: { 5: 1 },
      ignore_eos: true,
      max_tokens: 16,
      skip_special_tokens: false,
      structured_outputs: '{"json_object":true}',
    });
    expect(request.ignored).toEqual(["max_tokens", "user"]);
  });

  test("has the form that the extras ask for, where the request has none", () => {
    const asked = { extras: { structured_outputs: { choice: ["yes", "no"] } } };
    const parameters = (request: object, extras: object) => {
      const made = built(vllm, request, extras);
      if (made.kind !== "request") throw new Error("unsupported");
      const sent = inputsOf(made.request)["sampling_parameters"] ?? "";
      // A JSON text in the JSON text: the backend reads it once more.
      const { structured_outputs: form } = JSON.parse(sent.slice(sent.indexOf("{")));
      return [form && JSON.parse(form), made.ignored];
    };
    expect(parameters({}, asked)).toEqual([asked.extras.structured_outputs, []]);
    expect(parameters({ responseFormat: { form: { case: "text", value: {} } } }, asked)[1]).toEqual([]);
    const object = { responseFormat: { form: { case: "jsonObject", value: {} } } };
    expect(parameters(object, asked)).toEqual([{ json_object: true }, ["structured_outputs"]]);
    expect(parameters({}, { extras: { structured_outputs: "yes" } })).toEqual([undefined, ["structured_outputs"]]);
  });

  test("asks for log probabilities where the model tells them", () => {
    const scored: TritonInterface = { ...vllm, inputs: { ...vllm.inputs, return_logprobs: "BOOL" } };
    const telling = { ...scored, outputs: ["text_output", "logprobs"] };
    expect([vllm, scored, telling].map((model) => featuresOf(model).includes(Feature.LOGPROBS))).toEqual([
      false,
      false,
      true,
    ]);
    const request = built(telling, { logprobs: { top: 0 } });
    if (request.kind !== "request") throw new Error("unsupported");
    const sent = inputsOf(request.request);
    expect(sent["return_logprobs"]).toBe("BOOL [1] .");
    expect(sent["sampling_parameters"]).toContain('"logprobs":0');
    const without = built(telling, {});
    expect(without.kind === "request" && inputsOf(without.request)).not.toHaveProperty("return_logprobs");
  });

  test("asks for some number of tokens in any case", () => {
    expect(built(vllm, {}, { maxTokens: 0 })).toMatchObject({ maxTokens: 4_096 });
    expect(built(vllm, { sampling: { maxTokens: 7 } }, { maxTokens: 0 })).toMatchObject({ maxTokens: 7 });
  });
});
