import type { ModelMetadataResponse } from "../../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfig } from "../../../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature } from "../../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { takesStop } from "../behind.ts";
import { guided } from "../flavour.ts";
import { guideInputs, hasGrammar, usableInputs } from "../grammar.ts";

/** What the driver has to know of TensorRT-LLM's core model, which takes and gives token ids. */
export interface CoreInterface {
  readonly flavour: "core";
  /** Whether tensors have a batch dimension, which is 1. */
  readonly batched: boolean;
  /** Whether it answers with any number of responses: then only ModelStreamInfer does. */
  readonly decoupled: boolean;
  /** The datatype of each input that it declares and that does something. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: readonly string[];
  /** Itself, if it ends the request of the same id when it is told to; else empty. */
  readonly stopModel: string;
}

const ids = ["input_ids", "input_lengths", "request_output_len"];
const answer = ["output_ids", "sequence_length"];

/** Recognises the core model by its tensors. Undefined for any other. */
export function coreInterfaceOf(metadata: ModelMetadataResponse, config: ModelConfig): CoreInterface | undefined {
  const inputs = usableInputs(metadata.inputs, hasGrammar(config));
  const outputs = metadata.outputs.map(({ name }) => name);
  if (!ids.every((name) => inputs[name] === "INT32") || !answer.every((name) => outputs.includes(name)))
    return undefined;
  return {
    flavour: "core",
    batched: config.maxBatchSize > 0,
    decoupled: config.modelTransactionPolicy?.decoupled ?? false,
    inputs,
    outputs,
    stopModel: takesStop(metadata) ? metadata.name : "",
  };
}

/** Whether it can be asked for a stream. */
export function coreStreams({ decoupled, inputs }: CoreInterface): boolean {
  return decoupled && "streaming" in inputs;
}

/** What a model of this interface can do, for a caller who has ids and can read them. */
export function coreFeatures(model: CoreInterface): Feature[] {
  const takes = (...names: string[]) => names.every((name) => name in model.inputs);
  return [
    Feature.TOKEN_IDS,
    Feature.CANCEL,
    ...(coreStreams(model) ? [Feature.STREAM] : []),
    ...(takes("num_return_sequences") && model.outputs.includes("sequence_index") ? [Feature.CHOICES] : []),
    ...(takes(...guideInputs) ? guided : []),
  ];
}
