import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Model, ModelSchema } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { DiscoverRule } from "./desired.ts";

/** A model that an engine reported and nobody configured. */
export interface FoundModel {
  readonly model: Model;
  readonly engineModel: string;
}

/** Models found so far, by id. */
export type FoundModels = ReadonlyMap<string, FoundModel>;

/** What a pool's engines now have, and what the catalogue has to know to name it. */
export interface Sighting {
  readonly poolId: string;
  readonly rule: DiscoverRule;
  /** The names that the pool's replicas reported when they last answered, each once. */
  readonly engineModels: readonly string[];
  /** Ids of configured models and aliases. */
  readonly taken: ReadonlySet<string>;
  readonly nowMs: number;
}

/** The models of all discovering pools after a sighting. */
export interface Discovery {
  readonly found: FoundModels;
  /** Names that could not be used, each with why. */
  readonly refused: readonly { readonly engineModel: string; readonly problem: string }[];
}

/** An engine of the operator's own has a few; one that lists more than this is a hosted API and wants a configuration. */
const foundPerPoolMax = 1_000;

/**
 * Adds what a pool's engines have, under the engines' own names, and drops what they have no more. A name that is
 * taken, by the configuration or by another pool that was first, is refused.
 */
export function discover(before: FoundModels, sighting: Sighting): Discovery {
  const { poolId, rule, engineModels, taken, nowMs } = sighting;
  const found = new Map(before);
  const refused: { engineModel: string; problem: string }[] = [];
  for (const [id, { model, engineModel }] of before) {
    if (model.poolId === poolId && !engineModels.includes(engineModel)) found.delete(id);
  }
  for (const engineModel of engineModels.slice(0, foundPerPoolMax)) {
    const id = callableName(engineModel);
    const owner = found.get(id);
    if (owner?.model.poolId === poolId && owner.engineModel === engineModel) continue;
    const problem = problemOf(id, owner, taken);
    if (problem) refused.push({ engineModel, problem });
    else found.set(id, { engineModel, model: modelOf(id, poolId, rule, nowMs) });
  }
  if (engineModels.length > foundPerPoolMax) {
    refused.push({
      engineModel: engineModels[foundPerPoolMax] ?? "",
      problem: `only the first ${foundPerPoolMax} models of a pool are added; name the others in a configuration file`,
    });
  }
  return { found, refused };
}

/** The engine's name in the letters that a caller may write: a file path loses its first slash, for one. */
export function callableName(engineModel: string): string {
  return engineModel
    .replace(/[^A-Za-z0-9._:/@+-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 256);
}

function problemOf(id: string, owner: FoundModel | undefined, taken: ReadonlySet<string>): string | undefined {
  if (!id) return "the name has no letter or digit; name the model in a configuration file";
  if (owner) return `pool ${owner.model.poolId} has a model of that name and was first`;
  if (taken.has(id)) return "the configuration has a model or alias of that name";
  return undefined;
}

function modelOf(
  id: string,
  poolId: string,
  { chatTemplate, tokenizer, toolParser, reasoningParser }: DiscoverRule,
  nowMs: number,
): Model {
  return create(ModelSchema, {
    id,
    poolId,
    ownedBy: "weir",
    createTime: timestampFromMs(nowMs),
    toolParser,
    reasoningParser,
    ...(chatTemplate ? { chatTemplate } : {}),
    ...(tokenizer ? { tokenizer } : {}),
  });
}
