import { toBinary } from "@bufbuild/protobuf";
import { WatchResponse_ChangeSchema } from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import type { Pool } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { Replica } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { keyOf, put, type Resource } from "./resource.ts";

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
  /** Every replica has answered or is known to be down: until then the catalogue may lack what exists. */
  readonly settled: boolean;
  /** From now on it is settled. Listeners are told, of no key. */
  settle(): void;
  /**
   * Makes all changes at once, and tells the listeners. A resource that can't be written as its contract has it (an
   * engine may tell of numbers that fit nowhere) is left out, and what was there before stays: it would end the watches
   * of all routers in other processes.
   */
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

/** A resource was left out; told once, until one of its key is taken again. */
export type RefusalListener = (key: string, error: unknown) => void;

/** The catalogue in memory. The configuration and the engines tell everything in it, so a restart loses nothing. */
export function createMemoryStore(refused: RefusalListener): CatalogStore {
  const present = new Map<string, Resource>();
  const listeners = new Set<CommitListener>();
  let revision = 0n;
  let settled = false;
  const unwritable = new Set<string>();
  const tell = (keys: readonly string[]) => {
    for (const listener of listeners) listener(keys);
  };
  const canBeWritten = ({ resource, deleted }: Edit): boolean => {
    const key = keyOf(resource);
    const error = deleted ? undefined : writingError(resource);
    if (error === undefined) unwritable.delete(key);
    else if (!unwritable.has(key)) {
      unwritable.add(key);
      refused(key, error);
    }
    return error === undefined;
  };

  return {
    get revision() {
      return revision;
    },
    commit(edits) {
      const written = edits.filter(canBeWritten);
      if (written.length === 0) return;
      revision += 1n;
      const keys = written.map(({ resource, deleted }) => {
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

/** What is thrown where the resource is written for a watcher; undefined: nothing. */
function writingError(resource: Resource): Error | undefined {
  try {
    toBinary(WatchResponse_ChangeSchema, put(resource));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
