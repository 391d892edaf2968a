import type { ModelMetadataResponse } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfig } from "../../../gen/ts/engine/triton/model_config_pb.ts";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";

/** What the driver has to know of a model that embeds. */
export interface EmbeddingInterface {
  readonly flavour: "embedding";
  /** Whether it takes a text, or the token ids of one. */
  readonly form: "text" | "ids";
  /** The input that takes it. */
  readonly input: string;
  /** The most inputs of one request; 0: its tensors have no batch dimension. */
  readonly batchMax: number;
  /** The datatype of each input that it declares and the driver fills. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly output: string;
  /** The length of its vectors; 0: it does not say, and gets one input at a time. */
  readonly dimensions: number;
}

/** Beside the ids: what tells padding, and sentences of a pair, apart. One text has neither. */
const besideIds = ["attention_mask", "token_type_ids"];
/** TensorRT-LLM's pre-processing has an output that is called an embedding bias. */
const vectorName = /embed(?!.*bias)/i;

/**
 * Recognises a model that embeds by its tensors: one output of single precision whose name says so, a vector for each
 * input; and one input with a text, or `input_ids` with what goes along. Undefined for any other.
 */
export function embeddingInterfaceOf(
  metadata: Pick<ModelMetadataResponse, "inputs" | "outputs">,
  config: Pick<ModelConfig, "maxBatchSize" | "modelTransactionPolicy" | "input">,
): EmbeddingInterface | undefined {
  if (config.modelTransactionPolicy?.decoupled) return undefined;
  const batched = config.maxBatchSize > 0;
  const rank = batched ? 2 : 1;
  const vectors = metadata.outputs.filter(
    ({ name, datatype, shape }) => vectorName.test(name) && datatype === "FP32" && shape.length === rank,
  );
  const [output] = vectors;
  if (output === undefined || vectors.length > 1) return undefined;
  const optional = new Set(config.input.filter((input) => input.optional).map(({ name }) => name));
  const wanted = metadata.inputs.filter(({ name }) => !optional.has(name));
  if (wanted.some(({ shape }) => shape.length !== rank)) return undefined;
  const found = {
    flavour: "embedding" as const,
    batchMax: batched ? config.maxBatchSize : 0,
    output: output.name,
    dimensions: Math.max(0, Number(output.shape.at(-1) ?? 0)),
  };
  const [only] = wanted;
  if (only?.datatype === "BYTES" && wanted.length === 1)
    return { ...found, form: "text", input: only.name, inputs: { [only.name]: only.datatype } };
  const fills = (name: string, datatype: string) =>
    (name === "input_ids" || besideIds.includes(name)) && (datatype === "INT64" || datatype === "INT32");
  if (!wanted.some(({ name }) => name === "input_ids") || !wanted.every((one) => fills(one.name, one.datatype)))
    return undefined;
  const inputs = Object.fromEntries(wanted.map(({ name, datatype }) => [name, datatype]));
  return { ...found, form: "ids", input: "input_ids", inputs };
}

/** What a model of this interface can do. */
export function embeddingFeatures({ form }: EmbeddingInterface): Feature[] {
  return form === "text" ? [Feature.EMBED] : [Feature.EMBED_TOKEN_IDS];
}
