import type { WatchResponse_Change } from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import type { Alias, Model } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { Pool } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { Replica } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { withKnown } from "./known-replica.ts";

/**
 * The catalogue as a watch told it. While a snapshot comes in, what was known stays beside what is new; at its end, what
 * it did not name is gone.
 */
export class CatalogView {
  readonly models = new Map<string, Model>();
  readonly aliases = new Map<string, Alias>();
  readonly pools = new Map<string, Pool>();
  readonly replicas = new Map<string, Replica>();
  #named: Set<object> | undefined;

  /** A snapshot begins. */
  begin(): void {
    this.#named = new Set();
  }

  /** @returns the pools that the change touches. */
  apply({ resource, deleted }: WatchResponse_Change): readonly string[] {
    if (resource.case === "replica") {
      const { value } = resource;
      return this.#applyReplica(deleted ? value : withKnown(value, this.replicas.get(value.id)), deleted);
    }
    if (resource.value) this.#named?.add(resource.value);
    switch (resource.case) {
      case "model":
        return touched(replace(this.models, resource.value, deleted), resource.value, (model) => model.poolId);
      case "pool":
        replace(this.pools, resource.value, deleted);
        return [resource.value.id];
      case "alias":
        replace(this.aliases, resource.value, deleted);
        return [];
      default:
        return [];
    }
  }

  #applyReplica(replica: Replica, deleted: boolean): readonly string[] {
    this.#named?.add(replica);
    return touched(replace(this.replicas, replica, deleted), replica, ({ poolId }) => poolId);
  }

  /**
   * The snapshot is complete.
   *
   * @returns the pools that lost something.
   */
  end(): readonly string[] {
    const named = this.#named;
    this.#named = undefined;
    if (!named) return [];
    const lost: string[] = [];
    for (const model of sweep(this.models, named)) lost.push(model.poolId);
    for (const replica of sweep(this.replicas, named)) lost.push(replica.poolId);
    for (const pool of sweep(this.pools, named)) lost.push(pool.id);
    sweep(this.aliases, named);
    return lost;
  }
}

function replace<T extends { readonly id: string }>(map: Map<string, T>, value: T, deleted: boolean): T | undefined {
  const before = map.get(value.id);
  if (deleted) map.delete(value.id);
  else map.set(value.id, value);
  return before;
}

function touched<T>(before: T | undefined, after: T, poolOf: (value: T) => string): readonly string[] {
  const now = poolOf(after);
  const then = before === undefined ? "" : poolOf(before);
  return [now, then].filter((pool, index, both) => pool !== "" && both.indexOf(pool) === index);
}

function sweep<T extends object>(map: Map<string, T>, named: ReadonlySet<object>): readonly T[] {
  const lost: T[] = [];
  for (const [id, value] of map) {
    if (named.has(value)) continue;
    map.delete(id);
    lost.push(value);
  }
  return lost;
}
