import { create } from "@bufbuild/protobuf";
import {
  type WatchResponse_Change,
  WatchResponse_ChangeSchema,
} from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { AliasSchema, ModelSchema } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { PoolSchema } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { ReplicaSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";

/** One resource of the catalogue, as a watch carries it. It is not changed once it is in the store: it is replaced. */
export type Resource = Exclude<WatchResponse_Change["resource"], { case: undefined }>;

/** What tells resources apart: kind and id. */
export function keyOf(resource: Resource): string {
  return `${resource.case}/${resource.value.id}`;
}

/** The resource as it is now. */
export function put(resource: Resource): WatchResponse_Change {
  return create(WatchResponse_ChangeSchema, { resource });
}

/** The resource with this key is gone: all that is left of it is its id. */
export function gone(key: string): WatchResponse_Change {
  return create(WatchResponse_ChangeSchema, { resource: idOnly(key), deleted: true });
}

function idOnly(key: string): Resource {
  const slash = key.indexOf("/");
  const id = key.slice(slash + 1);
  switch (key.slice(0, slash)) {
    case "model":
      return { case: "model", value: create(ModelSchema, { id }) };
    case "alias":
      return { case: "alias", value: create(AliasSchema, { id }) };
    case "pool":
      return { case: "pool", value: create(PoolSchema, { id }) };
    default:
      return { case: "replica", value: create(ReplicaSchema, { id }) };
  }
}
