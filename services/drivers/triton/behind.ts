import { status as grpcStatus } from "@grpc/grpc-js";
import { GRPCInferenceService, type ModelMetadataResponse } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { ModelConfig } from "../../../gen/ts/engine/triton/model_config_pb.ts";
import type { Channel } from "../grpc/channel.ts";
import { isStatusError } from "../grpc/status.ts";
import type { Behind, Flavour } from "./flavour.ts";
import { hasGrammar, parameterOf } from "./grammar.ts";

const { modelMetadata, modelConfig } = GRPCInferenceService.method;

/** What BLS calls the core unless it is told otherwise, and the model before it in any case. */
const bls = { core: "tensorrt_llm", counter: "preprocessing" };

/** Asks for the models behind a model of TensorRT-LLM that takes texts. One that is not visible is none. */
export async function modelsBehind(
  channel: Channel,
  flavour: Flavour | undefined,
  config: ModelConfig,
  signal: AbortSignal,
): Promise<Behind> {
  const find = (names: readonly string[], fits: (metadata: ModelMetadataResponse) => boolean) =>
    firstOf(channel, names, fits, signal);
  const [core, counter] = await Promise.all([
    find(coreCandidates(flavour, config), isCore),
    find(counterCandidates(flavour, config), isCounter),
  ]);
  return {
    stopModel: core && flavour === "ensemble" && takesStop(core.metadata) ? core.name : "",
    grammar: core?.config !== undefined && hasGrammar(core.config),
    counter: counter?.name ?? "",
  };
}

/** The models that may be the core: the steps of an ensemble that take token ids, or the one that BLS is told of. */
export function coreCandidates(flavour: Flavour | undefined, config: ModelConfig): string[] {
  if (flavour === "bls") return [parameterOf(config.parameters, "tensorrt_llm_model_name") || bls.core];
  return stepsThatTake("input_ids", flavour, config);
}

/** The models that may make token ids of prompts. */
function counterCandidates(flavour: Flavour | undefined, config: ModelConfig): string[] {
  return flavour === "bls" ? [bls.counter] : stepsThatTake("QUERY", flavour, config);
}

function stepsThatTake(input: string, flavour: Flavour | undefined, config: ModelConfig): string[] {
  if (flavour !== "ensemble" || config.schedulingChoice.case !== "ensembleScheduling") return [];
  const steps = config.schedulingChoice.value.step.filter((step) => input in step.inputMap);
  return steps.map((step) => step.modelName);
}

/** Whether a model ends the request of the same id when its input `stop` is true. */
export function takesStop(metadata: Pick<ModelMetadataResponse, "inputs">): boolean {
  return isCore(metadata) && metadata.inputs.some(({ name }) => name === "stop");
}

function isCore({ inputs }: Pick<ModelMetadataResponse, "inputs">): boolean {
  return named(inputs, "input_ids", "input_lengths", "request_output_len");
}

function isCounter({ inputs, outputs }: ModelMetadataResponse): boolean {
  return named(inputs, "QUERY", "REQUEST_OUTPUT_LEN") && named(outputs, "REQUEST_INPUT_LEN");
}

function named(tensors: readonly { readonly name: string }[], ...names: readonly string[]): boolean {
  return names.every((name) => tensors.some((tensor) => tensor.name === name));
}

interface Found {
  readonly name: string;
  readonly metadata: ModelMetadataResponse;
  readonly config: ModelConfig | undefined;
}

async function firstOf(
  channel: Channel,
  names: readonly string[],
  fits: (metadata: ModelMetadataResponse) => boolean,
  signal: AbortSignal,
): Promise<Found | undefined> {
  for (const name of names) {
    try {
      const metadata = await channel.ask(modelMetadata, { name }, signal);
      if (!fits(metadata)) continue;
      const { config } = await channel.ask(modelConfig, { name }, signal);
      return { name, metadata, config };
    } catch (thrown) {
      // What is not visible is of no use; the model in front of it works without.
      if (!isStatusError(thrown) || thrown.code !== grpcStatus.NOT_FOUND) throw thrown;
    }
  }
  return undefined;
}
