import type { ModelMetadataResponse } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfig } from "../../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { guideInputs, usableInputs } from "./grammar.ts";
import type { TextMode } from "./text-track.ts";

/** The interfaces that the driver knows: TensorRT-LLM's ensemble and BLS models and its LLM API, and Triton's vLLM backend. */
export type Flavour = "ensemble" | "bls" | "llmapi" | "vllm";

/** What the driver has to know of a model to speak to it. */
export interface TritonInterface {
  readonly flavour: Flavour;
  /** Whether tensors have a batch dimension, which is 1. */
  readonly batched: boolean;
  /** Whether it answers with any number of responses: then only ModelStreamInfer does. */
  readonly decoupled: boolean;
  /** The datatype of each input that it declares and that does something. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: readonly string[];
  readonly textMode: TextMode;
  /** The model behind an ensemble that stops a generation when it is told to under the same id; empty if none. */
  readonly stopModel: string;
  /** The model that makes token ids of prompts, and so counts the tokens of texts; empty if none. */
  readonly counter: string;
}

/** What the driver has to know of the models behind one that takes texts. */
export interface Behind {
  /** The one that stops a generation when it is told to under the same id; empty if none. */
  readonly stopModel: string;
  /** Whether the core can hold an answer to a form. */
  readonly grammar: boolean;
  /** The one that makes token ids of prompts; empty if none. */
  readonly counter: string;
}

/** Finds the flavour by the names of the inputs; undefined for a model that is no LLM with text in and out. */
export function flavourOf(
  metadata: Pick<ModelMetadataResponse, "inputs" | "outputs">,
  config: Pick<ModelConfig, "schedulingChoice">,
): Flavour | undefined {
  const inputs = new Set(metadata.inputs.map((input) => input.name));
  if (!inputs.has("text_input") || !metadata.outputs.some((output) => output.name === "text_output")) return undefined;
  if (inputs.has("sampling_parameters")) return "vllm";
  if (inputs.has("sampling_param_max_tokens")) return "llmapi";
  if (!inputs.has("max_tokens")) return undefined;
  return config.schedulingChoice.case === "ensembleScheduling" ? "ensemble" : "bls";
}

/** Describes a model by its metadata and configuration; undefined if it is none that the driver speaks to. */
export function interfaceOf(
  metadata: ModelMetadataResponse,
  config: ModelConfig,
  { stopModel, grammar, counter }: Behind,
): TritonInterface | undefined {
  const flavour = flavourOf(metadata, config);
  if (!flavour) return undefined;
  return {
    flavour,
    batched: config.maxBatchSize > 0,
    decoupled: config.modelTransactionPolicy?.decoupled ?? false,
    inputs: usableInputs(metadata.inputs, grammar),
    outputs: metadata.outputs.map((output) => output.name),
    textMode: textModeOf(flavour, config),
    stopModel,
    counter,
  };
}

/** A BLS model's configuration says whether its text is cumulative. Where it does not, the text shows it; of the LLM API too. */
function textModeOf(flavour: Flavour, config: ModelConfig): TextMode {
  if (flavour === "llmapi") return "unknown";
  if (flavour !== "bls") return "delta";
  const accumulates = config.parameters["accumulate_tokens"]?.stringValue.toLowerCase();
  if (accumulates === "true") return "cumulative";
  return accumulates === "false" ? "delta" : "unknown";
}

/** Whether it can be asked for a stream. */
export function isStreamable({ decoupled, inputs, flavour }: TritonInterface): boolean {
  return decoupled && (flavour === "llmapi" ? "streaming" : "stream") in inputs;
}

/** What a model with a grammar for every form can do. */
export const guided: readonly Feature[] = [Feature.JSON_SCHEMA, Feature.JSON_OBJECT, Feature.PATTERN, Feature.GRAMMAR];

/** What a model of this interface can do. */
export function featuresOf(model: TritonInterface): Feature[] {
  const features: Feature[] = [Feature.PROMPT];
  const takes = (...names: string[]) => names.every((name) => name in model.inputs);
  if (isStreamable(model)) features.push(Feature.STREAM);
  if (model.flavour === "vllm") {
    // Not several choices: since vLLM's V1 engine they come one after another, and the backend does not say which.
    features.push(Feature.LOGIT_BIAS, ...guided);
    if (takes("return_logprobs") && model.outputs.includes("logprobs")) features.push(Feature.LOGPROBS);
  } else if (model.flavour !== "llmapi") {
    if (takes("num_return_sequences")) features.push(Feature.CHOICES);
    if (takes(...guideInputs)) features.push(...guided);
  }
  const hearsCancel = model.flavour === "vllm" || model.flavour === "llmapi";
  if (hearsCancel || model.stopModel !== "") features.push(Feature.CANCEL);
  return features;
}
