import { create } from "@bufbuild/protobuf";
import {
  type EngineService,
  ListEngineModelsResponseSchema,
  LoadEngineModelResponseSchema,
  UnloadEngineModelResponseSchema,
} from "../../gen/ts/weir/catalog/v1/engine_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { ModelRepository } from "../drivers/repository.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { pageOf } from "../runtime/paging.ts";
import type { ProbedReplica } from "./probed-replica.ts";
import type { Prober } from "./prober.ts";

const pageSizeDefault = 100;

export interface EngineServiceOptions {
  readonly replicas: readonly ProbedReplica[];
  readonly prober: Pick<Prober, "hurry">;
}

/** What operators have engines do. */
export function engineService({ replicas, prober }: EngineServiceOptions): ServiceImplementation<typeof EngineService> {
  async function ordered<T>(
    replicaId: string,
    signal: AbortSignal,
    order: (repository: ModelRepository) => Promise<T>,
  ): Promise<T> {
    const found = replicas.find(({ replica }) => replica.id === replicaId);
    if (!found) throw fail(ErrorReason.NOT_FOUND, { resource: "replica", id: replicaId });
    return found.order((repository) => {
      if (!repository) throw fail(ErrorReason.ENGINE_CONTROL_OFF, { problem: "its protocol has no such orders" });
      return order(repository);
    }, signal);
  }

  /** What failed may have changed something too: a load that was not waited for goes on. */
  async function changing<T>(replicaId: string, change: Promise<T>): Promise<T> {
    try {
      return await change;
    } finally {
      prober.hurry(replicaId);
    }
  }

  return {
    async listEngineModels(request, { signal }) {
      const models = await ordered(request.replicaId, signal, (repository) => repository.list(signal));
      // A line feed sorts before every character of a name, so that versions stay together.
      const { items, nextPageToken } = pageOf(models, keyOf, request, pageSizeDefault);
      return create(ListEngineModelsResponseSchema, { models: [...items], nextPageToken });
    },
    async loadEngineModel({ replicaId, engineModel }, { signal }) {
      await ordered(replicaId, signal, (repository) => changing(replicaId, repository.load(engineModel, signal)));
      return create(LoadEngineModelResponseSchema);
    },
    async unloadEngineModel({ replicaId, engineModel }, { signal }) {
      const state = await ordered(replicaId, signal, (repository) =>
        changing(replicaId, repository.unload(engineModel, signal)),
      );
      return create(UnloadEngineModelResponseSchema, { state });
    },
  };
}

function keyOf({ name, version }: { readonly name: string; readonly version: string }): string {
  return `${name}\n${version}`;
}
