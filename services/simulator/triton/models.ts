import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ModelMetadataResponseSchema } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { DataType, type ModelConfigSchema } from "../../../gen/ts/engine/triton/model_config_pb.ts";
import {
  bls,
  core,
  ensemble,
  llmapi,
  preprocessing,
  type TensorTable,
  textEmbedding,
  tokenEmbedding,
  vllm,
} from "./tensor-tables.ts";

/**
 * - `ensemble`: text in and out, through a core model; a cancel stops it only while it waits.
 * - `bls`: the same tensors, with the whole text so far in each response; nothing stops it once it runs.
 * - `llmapi`: TensorRT-LLM's LLM API, with the whole text so far in each response; a cancel stops it at once.
 * - `vllm`: Triton's vLLM backend; a cancel stops it at once.
 * - `embedding`: a text, or token ids, in and a vector out; a cancel stops it only while it waits.
 * - `preprocessing`: makes token ids of prompts, and so counts the tokens of texts.
 * - `core`: TensorRT-LLM's core model, token ids in and out; a cancel stops it at once.
 */
export type Flavour = "ensemble" | "bls" | "llmapi" | "vllm" | "core" | "embedding" | "preprocessing";

/** A tensor as a model declares it. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: keyof typeof dataTypes;
  /** Without the batch dimension; -1 is any length. */
  readonly dims: readonly number[];
  readonly optional: boolean;
}

/** A model of the simulated server. */
export interface Model {
  readonly name: string;
  readonly flavour: Flavour;
  /** Whether its tensors have a batch dimension. */
  readonly batched: boolean;
  /** Whether it answers with any number of responses. */
  readonly decoupled: boolean;
  /** Whether it, or the core behind it, has a grammar. */
  readonly guided: boolean;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

const dataTypes = {
  BYTES: DataType.TYPE_STRING,
  BOOL: DataType.TYPE_BOOL,
  INT32: DataType.TYPE_INT32,
  INT64: DataType.TYPE_INT64,
  UINT32: DataType.TYPE_UINT32,
  UINT64: DataType.TYPE_UINT64,
  FP32: DataType.TYPE_FP32,
} as const;

const batchSizeMax = 64;
const backends: Readonly<Record<Flavour, string>> = {
  ensemble: "",
  bls: "python",
  llmapi: "python",
  vllm: "vllm",
  core: "tensorrtllm",
  embedding: "onnxruntime",
  preprocessing: "python",
};

/** How the models of TensorRT-LLM are set up. */
export interface TensorrtSetup {
  /** Whether they stream. */
  readonly decoupled: boolean;
  /** Whether their core has a grammar. They have the inputs for a form in any case. */
  readonly guided: boolean;
  /** Whether their ensemble and BLS count tokens; older ones do not. */
  readonly counts: boolean;
}

const unary: ReadonlySet<Flavour> = new Set(["embedding", "preprocessing"]);

/** The models by name. vLLM's is always decoupled. */
export function modelsOf({ decoupled, guided, counts }: TensorrtSetup): ReadonlyMap<string, Model> {
  const model = (name: string, flavour: Flavour, table: TensorTable): Model => ({
    name,
    flavour,
    batched: flavour !== "vllm" && flavour !== "llmapi",
    decoupled: flavour === "vllm" || (decoupled && !unary.has(flavour)),
    guided,
    inputs: specsFrom(table.inputs).filter(({ name }) => counts || !isCount(flavour, name)),
    outputs: specsFrom(table.outputs).filter(({ name }) => counts || !isCount(flavour, name)),
  });
  const models = [
    model("ensemble", "ensemble", ensemble),
    model("preprocessing", "preprocessing", preprocessing),
    model("tensorrt_llm", "core", core),
    model("tensorrt_llm_bls", "bls", bls),
    model("llmapi", "llmapi", llmapi),
    model("vllm_model", "vllm", vllm),
    model("text_embedding", "embedding", textEmbedding),
    model("token_embedding", "embedding", tokenEmbedding),
  ];
  return new Map(models.map((each) => [each.name, each]));
}

function isCount(flavour: Flavour, tensor: string): boolean {
  return flavour !== "vllm" && /num_(?:in|out)put_tokens$/.test(tensor);
}

/** A line each: name, datatype, dims; a star marks what must be given. */
function specsFrom(table: string): TensorSpec[] {
  return table
    .trim()
    .split("\n")
    .map((line) => {
      const [name = "", type = "", dims = ""] = line.trim().split(" ");
      const datatype = datatypeFrom(type);
      return {
        name: name.replace("*", ""),
        datatype,
        dims: dims.split(",").map(Number),
        optional: !name.endsWith("*"),
      };
    });
}

function datatypeFrom(text: string): TensorSpec["datatype"] {
  const known: readonly TensorSpec["datatype"][] = ["BYTES", "BOOL", "INT32", "INT64", "UINT32", "UINT64", "FP32"];
  const found = known.find((each) => each === text);
  if (found === undefined) throw new Error(`no datatype ${text}`);
  return found;
}

/** What ModelMetadata tells. */
export function metadataOf(model: Model): MessageInitShape<typeof ModelMetadataResponseSchema> {
  const head = ({ name, datatype, dims }: TensorSpec) => {
    const shape = model.batched ? [-1, ...dims] : dims;
    return { name, datatype, shape: shape.map(BigInt) };
  };
  const platform = model.flavour === "ensemble" ? "ensemble" : backends[model.flavour];
  return {
    name: model.name,
    versions: ["1"],
    platform,
    inputs: model.inputs.map(head),
    outputs: model.outputs.map(head),
  };
}

/** What ModelConfig tells. */
export function configOf(model: Model): MessageInitShape<typeof ModelConfigSchema> {
  const tensor = ({ name, datatype, dims }: TensorSpec) => ({
    name,
    dataType: dataTypes[datatype],
    dims: dims.map(BigInt),
  });
  const ensembleScheduling = { case: "ensembleScheduling" as const, value: { step: steps } };
  return {
    name: model.name,
    platform: model.flavour === "ensemble" ? "ensemble" : "",
    backend: backends[model.flavour],
    runtime: ["bls", "llmapi", "vllm", "preprocessing"].includes(model.flavour) ? "model.py" : "",
    maxBatchSize: model.batched ? batchSizeMax : 0,
    modelTransactionPolicy: { decoupled: model.decoupled },
    input: model.inputs.map((spec) => ({ ...tensor(spec), optional: spec.optional })),
    output: model.outputs.map(tensor),
    ...(model.flavour === "ensemble" ? { schedulingChoice: ensembleScheduling } : {}),
    parameters: parametersOf(model),
  };
}

/** What nobody set is left as it is in the template. */
function parametersOf({ flavour, guided }: Model): Record<string, { stringValue: string }> {
  const texts: Readonly<Record<string, string>> =
    flavour === "bls"
      ? { accumulate_tokens: "true", tensorrt_llm_model_name: "${tensorrt_llm_model_name}" }
      : flavour === "core"
        ? {
            guided_decoding_backend: guided ? "xgrammar" : "${guided_decoding_backend}",
            xgrammar_tokenizer_info_path: guided ? "/models/tokenizer_info.json" : "${xgrammar_tokenizer_info_path}",
          }
        : {};
  return Object.fromEntries(Object.entries(texts).map(([name, stringValue]) => [name, { stringValue }]));
}

const steps = [
  {
    modelName: "preprocessing",
    modelVersion: -1n,
    inputMap: { QUERY: "text_input", REQUEST_OUTPUT_LEN: "max_tokens", STOP_WORDS_DICT: "stop_words" },
    outputMap: { INPUT_ID: "_INPUT_ID", REQUEST_INPUT_LEN: "_REQUEST_INPUT_LEN" },
  },
  {
    modelName: "tensorrt_llm",
    modelVersion: -1n,
    inputMap: { input_ids: "_INPUT_ID", input_lengths: "_REQUEST_INPUT_LEN", streaming: "stream" },
    outputMap: { output_ids: "_TOKENS_BATCH", sequence_length: "_SEQUENCE_LENGTH" },
  },
  {
    modelName: "postprocessing",
    modelVersion: -1n,
    inputMap: { TOKENS_BATCH: "_TOKENS_BATCH", SEQUENCE_LENGTH: "_SEQUENCE_LENGTH" },
    outputMap: { OUTPUT: "text_output" },
  },
];
