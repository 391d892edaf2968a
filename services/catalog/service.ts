import { clearField, clone, create, type DescMessage, getOption, type MessageShape } from "@bufbuild/protobuf";
import type { CatalogService } from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { PoolSchema } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import {
  ListPoolsResponseSchema,
  ListReplicasResponseSchema,
  type PoolService,
} from "../../gen/ts/weir/catalog/v1/pool_service_pb.ts";
import { redact } from "../../gen/ts/weir/policy/v1/policy_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import { pushed } from "../runtime/mesh/push.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { pageOf } from "../runtime/paging.ts";
import type { CatalogStore } from "./store.ts";
import { watchCatalog } from "./watch.ts";

const pageSizeDefault = 50;

/** What routers follow. */
export function catalogService(store: CatalogStore, clock: Clock): ServiceImplementation<typeof CatalogService> {
  return { watch: pushed(watchCatalog(store, clock)) };
}

/** What operators read. */
export function poolService(store: CatalogStore): ServiceImplementation<typeof PoolService> {
  return {
    listPools(request) {
      const { items, nextPageToken } = pageOf(store.pools(), (pool) => pool.id, request, pageSizeDefault);
      return create(ListPoolsResponseSchema, {
        pools: items.map((pool) => withoutSecrets(PoolSchema, pool)),
        nextPageToken,
      });
    },
    listReplicas(request) {
      const list = store.replicas().filter(({ poolId }) => !request.poolId || poolId === request.poolId);
      // A space sorts before every character of an id, so that pools stay together.
      const page = pageOf(list, (replica) => `${replica.poolId} ${replica.id}`, request, pageSizeDefault);
      return create(ListReplicasResponseSchema, { replicas: [...page.items], nextPageToken: page.nextPageToken });
    },
  };
}

/** A copy without the fields that the contract marks: an engine's credential is for routers only. */
export function withoutSecrets<D extends DescMessage>(schema: D, message: MessageShape<D>): MessageShape<D> {
  const copy = clone(schema, message);
  for (const field of schema.fields) if (getOption(field, redact)) clearField(copy, field);
  return copy;
}
