import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ModelMetadataResponseSchema } from "../../gen/ts/engine/triton/grpc_service_pb.ts";
import { ModelConfigSchema } from "../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { embeddingFeatures, embeddingInterfaceOf } from "../../services/drivers/triton/embedding-interface.ts";

type Tensor = readonly [name: string, datatype: string, ...shape: number[]];

const tensors = (list: readonly Tensor[]) =>
  list.map(([name, datatype, ...shape]) => ({ name, datatype, shape: shape.map(BigInt) }));

function found(
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  config: MessageInitShape<typeof ModelConfigSchema> = { maxBatchSize: 8 },
) {
  const metadata = create(ModelMetadataResponseSchema, { inputs: tensors(inputs), outputs: tensors(outputs) });
  return embeddingInterfaceOf(metadata, create(ModelConfigSchema, config));
}

const text: Tensor = ["TEXT", "BYTES", -1, 1];
const ids: Tensor = ["input_ids", "INT64", -1, -1];
const mask: Tensor = ["attention_mask", "INT64", -1, -1];
const vector: Tensor = ["sentence_embedding", "FP32", -1, 384];

describe("a model that embeds is known by its tensors", () => {
  test("one that takes a text", () => {
    const model = found([text], [vector]);
    expect(model).toEqual({
      flavour: "embedding",
      form: "text",
      input: "TEXT",
      batchMax: 8,
      inputs: { TEXT: "BYTES" },
      output: "sentence_embedding",
      dimensions: 384,
    });
    expect(model && embeddingFeatures(model)).toEqual([Feature.EMBED]);
  });

  test("one that takes token ids, with what goes along", () => {
    const model = found([ids, mask], [vector, ["last_hidden_state", "FP32", -1, -1, 384]]);
    expect(model).toMatchObject({
      form: "ids",
      input: "input_ids",
      inputs: { input_ids: "INT64", attention_mask: "INT64" },
    });
    expect(model && embeddingFeatures(model)).toEqual([Feature.EMBED_TOKEN_IDS]);
  });

  test("one without a batch dimension, and one whose vectors are of any length", () => {
    expect(found([["text", "BYTES", 1]], [["embedding", "FP32", -1]], { maxBatchSize: 0 })).toMatchObject({
      batchMax: 0,
      dimensions: 0,
    });
  });

  test("an input that may be left out is left out", () => {
    const config = { maxBatchSize: 8, input: [{ name: "prompt_name", optional: true }] };
    expect(found([text, ["prompt_name", "BYTES", -1, 1]], [vector], config)).toMatchObject({ input: "TEXT" });
  });

  test.each<[string, readonly Tensor[], readonly Tensor[], MessageInitShape<typeof ModelConfigSchema>?]>([
    ["a classifier", [text], [["scores", "FP32", -1, 2]]],
    ["a vector for each token", [ids, mask], [["token_embeddings", "FP32", -1, -1, 384]]],
    ["half precision", [text], [["embedding", "FP16", -1, 384]]],
    ["two vectors", [text], [vector, ["other_embedding", "FP32", -1, 8]]],
    ["TensorRT-LLM's pre-processing", [["QUERY", "BYTES", -1, 1]], [["EMBEDDING_BIAS", "FP32", -1, -1]]],
    ["two texts", [text, ["other", "BYTES", -1, 1]], [vector]],
    ["pictures", [["pixels", "FP32", -1, 3]], [vector]],
    ["ids with more than goes along", [ids, mask, ["extra", "INT64", -1, 1]], [vector]],
    ["a mask alone", [mask], [vector]],
    ["several responses", [text], [vector], { maxBatchSize: 8, modelTransactionPolicy: { decoupled: true } }],
  ])("%s is none", (_what, inputs, outputs, config) => {
    expect(found(inputs, outputs, config)).toBeUndefined();
  });
});
