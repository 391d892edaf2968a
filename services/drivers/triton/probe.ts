import { create } from "@bufbuild/protobuf";
import { status as grpcStatus } from "@grpc/grpc-js";
import { GRPCInferenceService } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { ModelConfigSchema } from "../../../gen/ts/engine/triton/model_config_pb.ts";
import {
  type Feature,
  ReplicaLoadSchema,
  type ReplicaModel,
  ReplicaModelSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { ProbeResult, Sighting } from "../driver.ts";
import type { Channel } from "../grpc/channel.ts";
import { isStatusError, probeError, sightingBy } from "../grpc/status.ts";
import { modelsBehind } from "./behind.ts";
import { type CoreInterface, coreFeatures, coreInterfaceOf } from "./core/interface.ts";
import { type EmbeddingInterface, embeddingFeatures, embeddingInterfaceOf } from "./embedding-interface.ts";
import { recognise } from "./errors.ts";
import { featuresOf, flavourOf, interfaceOf, type TritonInterface } from "./flavour.ts";

const { serverMetadata, repositoryIndex, modelMetadata, modelConfig, modelReady, serverLive } =
  GRPCInferenceService.method;

/** Whether the server at the channel's end speaks KServe v2. */
export function isTriton(channel: Channel, signal: AbortSignal): Promise<Sighting> {
  return sightingBy(channel.ask(serverLive, {}, signal), recognise);
}

/**
 * Asks for every model that generates and every one that embeds: what it is, and whether it takes requests. ServerReady is not asked: it is false while any model loads.
 */
export async function probeTriton(channel: Channel, signal: AbortSignal): Promise<ProbeResult> {
  try {
    const server = await channel.ask(serverMetadata, {}, signal);
    const index = await channel.ask(repositoryIndex, { ready: true }, signal);
    const names = [...new Set(index.models.map((model) => model.name))].toSorted();
    const models = await Promise.all(names.map((name) => probeModel(channel, name, signal)));
    return {
      engine: `${server.name} ${server.version}`.trim(),
      models: models.filter((model) => model !== undefined),
      load: create(ReplicaLoadSchema, { running: -1, waiting: -1, kvUsed: -1 }),
    };
  } catch (thrown) {
    throw probeError(thrown, recognise);
  }
}

async function probeModel(channel: Channel, name: string, signal: AbortSignal): Promise<ReplicaModel | undefined> {
  try {
    const metadata = await channel.ask(modelMetadata, { name }, signal);
    const { config = create(ModelConfigSchema) } = await channel.ask(modelConfig, { name }, signal);
    const behind = await modelsBehind(channel, flavourOf(metadata, config), config, signal);
    const generates = interfaceOf(metadata, config, behind);
    const described = generates ?? coreInterfaceOf(metadata, config) ?? embeddingInterfaceOf(metadata, config);
    if (!described) return undefined;
    const { ready } = await channel.ask(modelReady, { name }, signal);
    return create(ReplicaModelSchema, {
      engineModel: name,
      ready,
      features: allFeatures(described),
      needsTokenizer: described.flavour === "core",
      flavour: described.flavour,
      interfaceJson: JSON.stringify(described),
    });
  } catch (thrown) {
    // It was unloaded between two questions.
    if (isStatusError(thrown) && [grpcStatus.NOT_FOUND, grpcStatus.INVALID_ARGUMENT].includes(thrown.code))
      return undefined;
    throw thrown;
  }
}

function allFeatures(described: TritonInterface | CoreInterface | EmbeddingInterface): Feature[] {
  switch (described.flavour) {
    case "embedding":
      return embeddingFeatures(described);
    case "core":
      return coreFeatures(described);
    default:
      return featuresOf(described);
  }
}
