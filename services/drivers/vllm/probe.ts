import { create } from "@bufbuild/protobuf";
import { status as grpcStatus } from "@grpc/grpc-js";
import { Control, type ModelInfo, type ServerInfo } from "../../../gen/ts/engine/vllm/control_pb.ts";
import { Inference } from "../../../gen/ts/engine/vllm/inference_pb.ts";
import {
  Feature,
  ReplicaLoadSchema,
  type ReplicaModel,
  ReplicaModelSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { ProbeResult, Sighting } from "../driver.ts";
import type { Channel } from "../grpc/channel.ts";
import { isServing } from "../grpc/health.ts";
import { isStatusError, probeError, sightingBy } from "../grpc/status.ts";
import type { VllmInterface } from "./interface.ts";

const { getServerInfo, getModelInfo, listLoras, isPaused, isSleeping } = Control.method;

/** Whether the server at the channel's end is vLLM's. */
export function isVllm(channel: Channel, signal: AbortSignal): Promise<Sighting> {
  return sightingBy(channel.ask(getServerInfo, {}, signal));
}

/**
 * Asks what the server is and which names it serves: its model, the aliases and the adapters. How busy it is it does not
 * say over gRPC.
 */
export async function probeVllm(channel: Channel, signal: AbortSignal): Promise<ProbeResult> {
  try {
    const [server, info, ready] = await Promise.all([
      channel.ask(getServerInfo, {}, signal),
      channel.ask(getModelInfo, {}, signal),
      isReady(channel, signal),
    ]);
    const loras = info.supportsLora ? await lorasOf(channel, signal) : [];
    const names = new Set([info.servedModelName, ...info.servedModelAliases].filter((name) => name !== ""));
    return {
      engine: `vllm ${server.engineVersion}`.trim(),
      models: [
        ...Array.from(names, (name) => modelFrom(server, info, ready, name, "")),
        ...loras.map((name) => modelFrom(server, info, ready, name, name)),
      ],
      load: create(ReplicaLoadSchema, { running: -1, waiting: -1, kvUsed: -1 }),
    };
  } catch (thrown) {
    throw probeError(thrown);
  }
}

/** A server that is paused or asleep is healthy, idle by its metrics, and lets every request wait. */
async function isReady(channel: Channel, signal: AbortSignal): Promise<boolean> {
  const [serving, paused, sleeping] = await Promise.all([
    isServing(channel, Inference.typeName, signal),
    asked(channel.ask(isPaused, {}, signal).then((answer) => answer.paused)),
    asked(channel.ask(isSleeping, {}, signal).then((answer) => answer.sleeping)),
  ]);
  return serving && !paused && !sleeping;
}

/** False where the server does not answer the question. */
async function asked(answer: Promise<boolean>): Promise<boolean> {
  try {
    return await answer;
  } catch (thrown) {
    const { UNIMPLEMENTED, INTERNAL } = grpcStatus;
    if (isStatusError(thrown) && [UNIMPLEMENTED, INTERNAL].includes(thrown.code)) return false;
    throw thrown;
  }
}

async function lorasOf(channel: Channel, signal: AbortSignal): Promise<string[]> {
  try {
    const { adapters } = await channel.ask(listLoras, {}, signal);
    return adapters.map(({ loraName }) => loraName).filter((name) => name !== "");
  } catch (thrown) {
    // Adapters are off, whatever the model could.
    const { FAILED_PRECONDITION, UNIMPLEMENTED } = grpcStatus;
    if (isStatusError(thrown) && [FAILED_PRECONDITION, UNIMPLEMENTED].includes(thrown.code)) return [];
    throw thrown;
  }
}

function modelFrom(server: ServerInfo, info: ModelInfo, ready: boolean, name: string, lora: string): ReplicaModel {
  const described: VllmInterface = { lora };
  return create(ReplicaModelSchema, {
    engineModel: name,
    contextLength: BigInt(server.maxModelLen),
    ready,
    features: featuresOf(info),
    flavour: "vllm",
    interfaceJson: JSON.stringify(described),
  });
}

function featuresOf(info: ModelInfo): Feature[] {
  const features: Feature[] = [
    Feature.STREAM,
    Feature.JSON_SCHEMA,
    Feature.JSON_OBJECT,
    Feature.PATTERN,
    Feature.GRAMMAR,
    Feature.LOGIT_BIAS,
    Feature.CANCEL,
  ];
  if (info.supportsTextInput) features.unshift(Feature.PROMPT);
  if (info.supportsTokenIdsInput) features.unshift(Feature.TOKEN_IDS);
  return features;
}
