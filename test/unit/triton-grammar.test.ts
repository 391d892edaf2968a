import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ModelMetadataResponseSchema } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { ModelConfigSchema } from "../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { coreCandidates } from "../../services/drivers/triton/behind.ts";
import { coreFeatures, coreInterfaceOf } from "../../services/drivers/triton/core/interface.ts";
import { featuresOf, interfaceOf } from "../../services/drivers/triton/flavour.ts";
import { hasGrammar } from "../../services/drivers/triton/grammar.ts";

const tensors = (names: readonly string[], datatype: string) =>
  names.map((name) => ({ name, datatype, shape: [-1n, -1n] }));
const config = (init: MessageInitShape<typeof ModelConfigSchema> = {}) => create(ModelConfigSchema, init);

describe("a grammar is one that was set up", () => {
  const guides = ["guided_decoding_guide_type", "guided_decoding_guide"];
  const set = (backend: string, texts: Readonly<Record<string, string>>) =>
    config({
      backend,
      parameters: Object.fromEntries(Object.entries(texts).map(([name, stringValue]) => [name, { stringValue }])),
    });
  const [file, unset] = ["/models/tokenizer_info.json", "${guided_decoding_backend}"];

  test.each([
    [true, "tensorrtllm", { guided_decoding_backend: "xgrammar", xgrammar_tokenizer_info_path: file }],
    [true, "python", { guided_decoding_backend: "xgrammar" }],
    [false, "tensorrtllm", { guided_decoding_backend: "xgrammar" }],
    [false, "tensorrtllm", { guided_decoding_backend: unset, xgrammar_tokenizer_info_path: file }],
    [false, "python", { guided_decoding_backend: unset }],
    [false, "python", { guided_decoding_backend: "" }],
    [false, "python", {}],
  ])("%s for the %s backend with %j", (expected, backend, parameters) => {
    const configured = set(backend, parameters);
    expect(hasGrammar(configured)).toBe(expected);
    const core = create(ModelMetadataResponseSchema, {
      inputs: tensors(["input_ids", "input_lengths", "request_output_len", ...guides], "INT32"),
      outputs: tensors(["output_ids", "sequence_length"], "INT32"),
    });
    const found = coreInterfaceOf(core, configured);
    expect(found && coreFeatures(found).includes(Feature.JSON_SCHEMA)).toBe(expected);
  });

  test.each([true, false])("an ensemble has the inputs, and its core the grammar: %s", (grammar) => {
    const ensemble = create(ModelMetadataResponseSchema, {
      inputs: tensors(["text_input", "max_tokens", ...guides], "BYTES"),
      outputs: tensors(["text_output"], "BYTES"),
    });
    const model = interfaceOf(ensemble, config(), { stopModel: "", grammar, counter: "" });
    expect(model && featuresOf(model).includes(Feature.GRAMMAR)).toBe(grammar);
    expect(guides.some((name) => model && name in model.inputs)).toBe(grammar);
  });

  test("of BLS it is the core that it was told of", () => {
    expect(coreCandidates("bls", set("python", { tensorrt_llm_model_name: "mine" }))).toEqual(["mine"]);
    expect(coreCandidates("bls", set("python", { tensorrt_llm_model_name: "${x}" }))).toEqual(["tensorrt_llm"]);
    expect(coreCandidates("vllm", config())).toEqual([]);
  });
});
