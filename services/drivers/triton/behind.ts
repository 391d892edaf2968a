import { status as grpcStatus } from "@grpc/grpc-js";
import { GRPCInferenceService, type ModelMetadataResponse } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfig } from "../../../gen/ts/engine/triton/model_config_pb.ts";
import type { Channel } from "../grpc/channel.ts";
import { isStatusError } from "../grpc/status.ts";
import type { Behind, Flavour } from "./flavour.ts";
import { hasGrammar, parameterOf } from "./grammar.ts";

const { modelMetadata, modelConfig } = GRPCInferenceService.method;

/** What BLS calls the core unless it is told otherwise. */
const coreDefault = "tensorrt_llm";

/** Asks for the models behind a model of TensorRT-LLM that takes texts. One that is not visible is none. */
export async function modelsBehind(
  channel: Channel,
  flavour: Flavour | undefined,
  config: ModelConfig,
  signal: AbortSignal,
): Promise<Behind> {
  for (const name of coreCandidates(flavour, config)) {
    const core = await ask(channel, name, signal);
    if (!core || !isCore(core.metadata)) continue;
    const stops = flavour === "ensemble" && takesStop(core.metadata);
    return { stopModel: stops ? name : "", grammar: core.config !== undefined && hasGrammar(core.config) };
  }
  return { stopModel: "", grammar: false };
}

/** The models that may be the core: the steps of an ensemble that take token ids, or the one that BLS is told of. */
export function coreCandidates(flavour: Flavour | undefined, config: ModelConfig): string[] {
  if (flavour === "bls") return [parameterOf(config.parameters, "tensorrt_llm_model_name") || coreDefault];
  if (flavour !== "ensemble" || config.schedulingChoice.case !== "ensembleScheduling") return [];
  const steps = config.schedulingChoice.value.step.filter((step) => "input_ids" in step.inputMap);
  return steps.map((step) => step.modelName);
}

/** Whether a model ends the request of the same id when its input `stop` is true. */
export function takesStop(metadata: Pick<ModelMetadataResponse, "inputs">): boolean {
  return isCore(metadata) && metadata.inputs.some(({ name }) => name === "stop");
}

function isCore({ inputs }: Pick<ModelMetadataResponse, "inputs">): boolean {
  const names = new Set(inputs.map((input) => input.name));
  return ["input_ids", "input_lengths", "request_output_len"].every((name) => names.has(name));
}

async function ask(channel: Channel, name: string, signal: AbortSignal) {
  try {
    const metadata = await channel.ask(modelMetadata, { name }, signal);
    const { config } = await channel.ask(modelConfig, { name }, signal);
    return { metadata, config };
  } catch (thrown) {
    if (!isStatusError(thrown) || thrown.code !== grpcStatus.NOT_FOUND) throw thrown;
    return undefined;
  }
}
