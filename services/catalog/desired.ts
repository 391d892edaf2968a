import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  AliasSchema,
  type ChatTemplate,
  ChatTemplateSchema,
  type Model,
  ModelSchema,
  type ReasoningParser,
  type Tokenizer,
  TokenizerSchema,
  type ToolParser,
} from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Pool, PoolSchema } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { type Replica, ReplicaSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { resolveAlias } from "../runtime/config/names.ts";
import type {
  ModelSettings,
  PlainTextSettings,
  PoolSettings,
  Settings,
  TokenizerSettings,
} from "../runtime/config/settings.ts";
import type { Resource } from "./resource.ts";

/** A model of a pool: what callers name it, and what its engines call it. */
export interface ServedName {
  readonly modelId: string;
  readonly engineModel: string;
}

/** A pool whose models are those that its engines report. */
export interface DiscoverRule {
  readonly chatTemplate: ChatTemplate | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly toolParser: ToolParser;
  readonly reasoningParser: ReasoningParser;
}

/** What the operator asks for. */
export interface Desired {
  /** Everything, as resources. Replicas have no state yet. */
  readonly resources: readonly Resource[];
  readonly replicas: readonly Replica[];
  /** By id. */
  readonly pools: ReadonlyMap<string, Pool>;
  /** By pool: the models that the configuration names. */
  readonly served: ReadonlyMap<string, readonly ServedName[]>;
  /** By pool: those with models to be found. */
  readonly discover: ReadonlyMap<string, DiscoverRule>;
  /** Ids of models and aliases, which nothing found may take. */
  readonly taken: ReadonlySet<string>;
}

/** Reads the configuration as a catalogue. */
export function desiredFrom(settings: Pick<Settings, "models" | "aliases" | "pools">, nowMs: number): Desired {
  const pools = settings.pools.map(poolFrom);
  const replicas = settings.pools.flatMap((pool) =>
    pool.replicas.map(({ id, url, httpUrl, dialect }) =>
      create(ReplicaSchema, { id, poolId: pool.id, url, httpUrl, dialect }),
    ),
  );
  const models = settings.models.map((model) => modelFrom(model, nowMs));
  const targets = new Map(settings.aliases.map((alias) => [alias.id, alias.model]));
  const aliases = settings.aliases.map(({ id }) =>
    create(AliasSchema, { id, modelId: resolveAlias(id, targets), createTime: timestampFromMs(nowMs) }),
  );
  return {
    resources: [
      ...pools.map((value): Resource => ({ case: "pool", value })),
      ...models.map((value): Resource => ({ case: "model", value })),
      ...aliases.map((value): Resource => ({ case: "alias", value })),
      ...replicas.map((value): Resource => ({ case: "replica", value })),
    ],
    replicas,
    pools: new Map(pools.map((pool) => [pool.id, pool])),
    served: servedByPool(settings.models),
    discover: new Map(
      settings.pools.flatMap(({ id, discover }) => (discover ? [[id, ruleFrom(discover)] as const] : [])),
    ),
    taken: new Set([...models, ...aliases].map(({ id }) => id)),
  };
}

function servedByPool(models: readonly ModelSettings[]): ReadonlyMap<string, readonly ServedName[]> {
  const byPool = new Map<string, ServedName[]>();
  for (const { id, pool, engineModel } of models) {
    const names = byPool.get(pool) ?? [];
    names.push({ modelId: id, engineModel });
    byPool.set(pool, names);
  }
  return byPool;
}

function modelFrom(model: ModelSettings, nowMs: number): Model {
  const chatTemplate = templateFrom(model);
  const tokenizer = tokenizerFrom(model.tokenizer);
  return create(ModelSchema, {
    id: model.id,
    poolId: model.pool,
    ownedBy: model.ownedBy,
    contextLength: BigInt(model.contextLength),
    maxOutputTokens: BigInt(model.maxOutputTokens),
    fallbackModelIds: [...model.fallbacks],
    createTime: timestampFromMs(nowMs),
    disabled: model.disabled,
    toolParser: model.toolParser,
    reasoningParser: model.reasoningParser,
    controlText: model.controlText,
    ...(chatTemplate ? { chatTemplate } : {}),
    ...(tokenizer ? { tokenizer } : {}),
  });
}

function ruleFrom({ chatTemplate, tokenizer, toolParser, reasoningParser }: PlainTextSettings): DiscoverRule {
  const made = { chatTemplate: templateFrom({ chatTemplate, tokenizer }), tokenizer: tokenizerFrom(tokenizer) };
  return { ...made, toolParser, reasoningParser };
}

function tokenizerFrom(tokenizer: TokenizerSettings | undefined): Tokenizer | undefined {
  if (!tokenizer) return undefined;
  const { path, sha256, endIds, padId = -1 } = tokenizer;
  return create(TokenizerSchema, { path, sha256, endIds: [...endIds], padId });
}

/** The template with the digest that its readers cache it by. */
function templateFrom({
  chatTemplate: template,
  tokenizer,
}: Pick<PlainTextSettings, "chatTemplate" | "tokenizer">): ChatTemplate | undefined {
  if (!template) return undefined;
  const special = (tokenizer?.specialTokens ?? []).filter((token) => token.length > 1);
  return create(ChatTemplateSchema, {
    source: template.source,
    sha256: createHash("sha256").update(template.source).digest("hex"),
    specialTokens: { ...template.specialTokens },
    controlTokens: [...new Set([...template.controlTokens, ...special])],
  });
}

function poolFrom(pool: PoolSettings): Pool {
  return create(PoolSchema, {
    id: pool.id,
    hosted: pool.hosted,
    allowedMembers: [...pool.allowedMembers],
    engineKey: pool.engineKey ?? "",
    engineKeyHeader: pool.engineKeyHeader,
    choicesMax: pool.choicesMax,
    concurrencyMax: pool.concurrencyMax,
    firstEventTimeout: durationFromMs(pool.firstEventTimeoutMs),
    idleTimeout: durationFromMs(pool.idleTimeoutMs),
    toolIdleTimeout: durationFromMs(pool.toolIdleTimeoutMs),
    totalTimeout: durationFromMs(pool.totalTimeoutMs),
    receiveBytesMax: BigInt(pool.receiveBytesMax),
  });
}
