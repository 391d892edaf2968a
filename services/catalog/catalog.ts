import { clone, equals } from "@bufbuild/protobuf";
import { ModelSchema } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Replica, type ReplicaModel, ReplicaSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Desired, DiscoverRule, ServedName } from "./desired.ts";
import { type Discovery, discover, type FoundModels } from "./discovery.ts";
import type { ProbeOutcome } from "./prober.ts";
import { answered, type Observed, unanswered } from "./replica-state.ts";
import type { CatalogStore, Edit } from "./store.ts";

export interface CatalogOptions {
  readonly desired: Desired;
  readonly store: CatalogStore;
  readonly nowMs: () => number;
  /** Tells an operator of a name that could not be used; each once. */
  readonly warn: (refused: Discovery["refused"][number] & { readonly poolId: string }) => void;
}

/** Puts what the operator wants into the store, and afterwards what each probe brings. */
export function createCatalog(options: CatalogOptions): { observe(outcome: ProbeOutcome): void } {
  const { desired, store, nowMs, warn } = options;
  const observed = new Map<string, Observed>();
  /** By replica: the engine's own names of its models, when it last answered. */
  const engineModels = new Map<string, readonly string[]>();
  const warned = new Set<string>();
  let found: FoundModels = new Map();

  store.commit(desired.resources.map((resource) => ({ resource })));

  function sight(poolId: string): readonly Edit[] {
    const rule = desired.discover.get(poolId);
    if (!rule) return [];
    const replicas = desired.replicas.filter((replica) => replica.poolId === poolId);
    const names = new Set(replicas.flatMap(({ id }) => engineModels.get(id) ?? []));
    const sighting = { poolId, rule, engineModels: [...names], taken: desired.taken, nowMs: nowMs() };
    const { found: after, refused } = discover(found, sighting);
    for (const one of refused) {
      const key = `${poolId}/${one.engineModel}`;
      if (warned.has(key) || warned.size >= warnedMax) continue;
      warned.add(key);
      warn({ ...one, poolId });
    }
    const edits = modelEdits(found, after);
    found = after;
    return edits;
  }

  function servedBy(poolId: string): readonly ServedName[] {
    const configured = desired.served.get(poolId) ?? [];
    if (!desired.discover.has(poolId)) return configured;
    const discovered = [...found.values()].filter(({ model }) => model.poolId === poolId);
    return [...configured, ...discovered.map(({ model, engineModel }) => ({ modelId: model.id, engineModel }))];
  }

  return {
    observe(outcome) {
      const { replica } = outcome;
      const edits: Edit[] = [];
      let after: Observed;
      if (outcome.kind === "answered") {
        engineModels.set(replica.id, offered(outcome.result.models, desired.discover.get(replica.poolId)));
        edits.push(...sight(replica.poolId));
        after = answered(outcome.result, servedBy(replica.poolId), nowMs());
      } else {
        after = unanswered(observed.get(replica.id), outcome.error, nowMs());
      }
      observed.set(replica.id, after);
      edits.push({ resource: { case: "replica", value: withState(replica, after) } });
      store.commit(edits);
    },
  };
}

/** The engine's own names of models that can be served as they are found. */
function offered(models: readonly ReplicaModel[], rule: DiscoverRule | undefined): readonly string[] {
  const usable = models.filter(({ needsTokenizer }) => !needsTokenizer || rule?.tokenizer !== undefined);
  return [...new Set(usable.map(({ engineModel }) => engineModel))];
}

/** A warning a name is enough, and engines may invent names for ever. */
const warnedMax = 1_000;

function withState(replica: Replica, { state }: Observed): Replica {
  const told = clone(ReplicaSchema, replica);
  told.state = state;
  return told;
}

/** What has to change in the store so that it holds the models found after instead of those before. */
function modelEdits(before: FoundModels, after: FoundModels): readonly Edit[] {
  const edits: Edit[] = [];
  for (const [id, { model }] of before) {
    if (!after.has(id)) edits.push({ resource: { case: "model", value: model }, deleted: true });
  }
  for (const [id, { model }] of after) {
    const old = before.get(id)?.model;
    if (!old || !equals(ModelSchema, old, model)) edits.push({ resource: { case: "model", value: model } });
  }
  return edits;
}
