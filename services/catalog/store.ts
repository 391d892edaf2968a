import type { Pool } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { Replica } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { keyOf, type Resource } from "./resource.ts";

/** A change to make. */
export interface Edit {
  readonly resource: Resource;
  readonly deleted?: boolean;
}

/** Hears of every commit: the keys of what changed. */
export type CommitListener = (keys: readonly string[]) => void;

/** What exists, by revision. */
export interface CatalogStore {
  /** Goes up by one with every commit; 0 is the empty catalogue. */
  readonly revision: bigint;
  /** Every replica has been asked once: until then the catalogue may lack what exists. */
  readonly settled: boolean;
  /** From now on it is settled. Listeners are told, of no key. */
  settle(): void;
  /** Makes all changes at once, and tells the listeners. */
  commit(edits: readonly Edit[]): void;
  /** The keys of everything that exists, in the order in which it was first put. */
  keys(): Iterable<string>;
  /** The resource as it is now; undefined: it does not exist. */
  get(key: string): Resource | undefined;
  pools(): readonly Pool[];
  replicas(): readonly Replica[];
  /** @returns the way to stop listening. */
  subscribe(listener: CommitListener): () => void;
}

/** The catalogue in memory. The configuration and the engines tell everything in it, so a restart loses nothing. */
export function createMemoryStore(): CatalogStore {
  const present = new Map<string, Resource>();
  const listeners = new Set<CommitListener>();
  let revision = 0n;
  let settled = false;
  const tell = (keys: readonly string[]) => {
    for (const listener of listeners) listener(keys);
  };

  return {
    get revision() {
      return revision;
    },
    commit(edits) {
      if (edits.length === 0) return;
      revision += 1n;
      const keys = edits.map(({ resource, deleted }) => {
        const key = keyOf(resource);
        if (deleted) present.delete(key);
        else present.set(key, resource);
        return key;
      });
      tell(keys);
    },
    get settled() {
      return settled;
    },
    settle() {
      if (settled) return;
      settled = true;
      tell([]);
    },
    keys: () => present.keys(),
    get: (key) => present.get(key),
    pools: () => [...present.values()].flatMap((resource) => (resource.case === "pool" ? [resource.value] : [])),
    replicas: () => [...present.values()].flatMap((resource) => (resource.case === "replica" ? [resource.value] : [])),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
