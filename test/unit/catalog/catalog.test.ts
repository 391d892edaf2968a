import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ControlText, ReasoningParser, ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { PoolSchema } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import {
  Dialect,
  type Replica,
  ReplicaHealth,
  ReplicaLoadSchema,
  ReplicaModelSchema,
  ReplicaSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { WatchResponse } from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { createCatalog } from "../../../services/catalog/catalog.ts";
import { desiredFrom } from "../../../services/catalog/desired.ts";
import { callableName, discover } from "../../../services/catalog/discovery.ts";
import { withoutSecrets } from "../../../services/catalog/service.ts";
import { createMemoryStore } from "../../../services/catalog/store.ts";
import { watchCatalog } from "../../../services/catalog/watch.ts";
import type { ProbeResult } from "../../../services/drivers/driver.ts";
import { defaults } from "../../../services/runtime/config/defaults.ts";
import type { ModelSettings, PoolSettings } from "../../../services/runtime/config/settings.ts";
import { fail, WeirError } from "../../../services/runtime/errors/fail.ts";
import { callContext } from "../../../services/runtime/mesh/caller-context.ts";
import { CatalogService, WatchRequestSchema } from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { pageOf } from "../../../services/runtime/paging.ts";
import { RecordingSink } from "../../fakes/recording-sink.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

function poolSettings(id: string, replicas: readonly string[], over: Partial<PoolSettings> = {}): PoolSettings {
  return {
    ...defaults.pool,
    id,
    replicas: replicas.map((name) => ({ id: name, url: `http://${name}`, httpUrl: "", dialect: Dialect.OPENAI })),
    hosted: false,
    allowedMembers: [],
    engineKey: undefined,
    concurrencyMax: 0,
    discover: undefined,
    ...over,
  };
}

function modelSettings(id: string, pool: string, over: Partial<ModelSettings> = {}): ModelSettings {
  return {
    ...defaults.model,
    id,
    pool,
    engineModel: id,
    contextLength: 0,
    chatTemplate: undefined,
    tokenizer: undefined,
    fallbacks: [],
    disabled: false,
    ...over,
  };
}

function result(...names: string[]): ProbeResult {
  return {
    engine: "engine 1",
    models: names.map((engineModel) => create(ReplicaModelSchema, { engineModel, ready: true })),
    load: create(ReplicaLoadSchema, { running: 1, waiting: 0, kvUsed: 0.5 }),
  };
}

const replica = (id: string, poolId: string): Replica =>
  create(ReplicaSchema, { id, poolId, url: `http://${id}`, dialect: Dialect.OPENAI });
const gone = fail(ErrorReason.ENGINE_UNAVAILABLE, { problem: "ECONNREFUSED" });

function setUp(settings: Parameters<typeof desiredFrom>[0]) {
  const warnings: string[] = [];
  const store = createMemoryStore((key) => void warnings.push(`${key} cannot be written`));
  const catalog = createCatalog({
    desired: desiredFrom(settings, 1_000),
    store,
    nowMs: () => 2_000,
    warn: ({ poolId, engineModel, problem }) => void warnings.push(`${poolId}/${engineModel}: ${problem}`),
  });
  const answered = (id: string, poolId: string, ...names: string[]) =>
    catalog.observe({ kind: "answered", replica: replica(id, poolId), result: result(...names) });
  const failed = (id: string, poolId: string) =>
    catalog.observe({ kind: "failed", replica: replica(id, poolId), error: gone });
  const state = (id: string) => store.replicas().find((one) => one.id === id)?.state;
  const models = () => [...store.keys()].filter((key) => key.startsWith("model/")).map((key) => key.slice(6));
  return { catalog, store, warnings, answered, failed, state, models };
}

describe("what the configuration says", () => {
  test("becomes resources, with aliases of aliases resolved", () => {
    const { resources } = desiredFrom(
      {
        pools: [poolSettings("p", ["a"], { engineKey: "secret", engineKeyHeader: "x-key", allowedMembers: [2] })],
        models: [
          modelSettings("m", "p", {
            toolParser: ToolParser.LLAMA3,
            reasoningParser: ReasoningParser.GLM,
            controlText: ControlText.REJECT,
            chatTemplate: { source: "x", specialTokens: { bos_token: "<s>" }, controlTokens: ["<s>"] },
          }),
        ],
        aliases: [
          { id: "one", model: "two" },
          { id: "two", model: "m" },
        ],
      },
      1_000,
    );
    expect(resources.map(({ case: kind, value }) => `${kind}/${value.id}`)).toEqual([
      "pool/p",
      "model/m",
      "alias/one",
      "alias/two",
      "replica/a",
    ]);
    expect(resources.find(({ value }) => value.id === "one")?.value).toMatchObject({ modelId: "m" });
    expect(resources[1]?.value).toMatchObject({
      poolId: "p",
      maxOutputTokens: 4_096n,
      toolParser: ToolParser.LLAMA3,
      reasoningParser: ReasoningParser.GLM,
      controlText: ControlText.REJECT,
      // SHA-256 of "x".
      chatTemplate: {
        sha256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        controlTokens: ["<s>"],
      },
    });
    expect(resources[0]?.value).toMatchObject({
      engineKey: "secret",
      engineKeyHeader: "x-key",
      firstEventTimeout: { seconds: 600n },
    });
  });
});

describe("what a probe finds", () => {
  const settings = {
    pools: [poolSettings("p", ["a"])],
    models: [modelSettings("m", "p", { engineModel: "org/m" }), modelSettings("n", "p", { engineModel: "org/m" })],
    aliases: [],
  };

  test("is told under the catalogue's names, and what nobody named is left out", () => {
    const { answered, state } = setUp(settings);
    answered("a", "p", "org/m", "other");
    expect(state("a")).toMatchObject({
      health: ReplicaHealth.READY,
      problem: "",
      engine: "engine 1",
      load: { running: 1 },
    });
    expect(state("a")?.models.map(({ modelId, engineModel }) => [modelId, engineModel])).toEqual([
      ["m", "org/m"],
      ["n", "org/m"],
    ]);
  });

  test("a model that the engine has not is told to the operator", () => {
    const { answered, state } = setUp(settings);
    answered("a", "p", "x", "y");
    expect(state("a")?.problem).toBe("the engine has no model org/m; it has: x, y");
  });

  test("the last state stays for one failure; at the second it is down, and its models are still known", () => {
    const { answered, failed, state } = setUp(settings);
    answered("a", "p", "org/m");
    failed("a", "p");
    expect(state("a")).toMatchObject({ health: ReplicaHealth.READY, load: { running: 1 } });
    failed("a", "p");
    expect(state("a")).toMatchObject({
      health: ReplicaHealth.DOWN,
      problem: "ENGINE_UNAVAILABLE: ECONNREFUSED",
      load: { running: -1 },
    });
    expect(state("a")?.models).toHaveLength(2);
    answered("a", "p", "org/m");
    failed("a", "p");
    expect(state("a")?.health).toBe(ReplicaHealth.READY);
  });

  test("one that never answered is down at once", () => {
    const { failed, state } = setUp(settings);
    failed("a", "p");
    expect(state("a")?.health).toBe(ReplicaHealth.DOWN);
  });
});

describe("discovery", () => {
  const discovering = (id: string, replicas: readonly string[]) =>
    poolSettings(id, replicas, {
      discover: {
        toolParser: ToolParser.KIMI,
        reasoningParser: ReasoningParser.KIMI,
        chatTemplate: { source: "t", specialTokens: {}, controlTokens: [] },
        tokenizer: {
          path: "/t/tokenizer.json",
          sha256: "ab",
          endIds: [7, 8],
          padId: undefined,
          specialTokens: ["<e>"],
        },
      },
    });
  const settings = {
    pools: [discovering("p", ["a", "b"]), discovering("q", ["c"]), poolSettings("own", ["d"])],
    models: [modelSettings("named", "own")],
    aliases: [{ id: "nick", model: "named" }],
  };

  test("adds what engines have, first come, and warns once of what is taken", () => {
    const { answered, models, warnings, state, store } = setUp(settings);
    answered("a", "p", "x", "named");
    answered("c", "q", "x", "y", "nick");
    answered("c", "q", "x", "y", "nick");
    expect(models()).toEqual(["named", "x", "y"]);
    expect(store.get("model/x")?.value).toMatchObject({
      poolId: "p",
      toolParser: ToolParser.KIMI,
      reasoningParser: ReasoningParser.KIMI,
      chatTemplate: { source: "t", controlTokens: ["<e>"] },
      tokenizer: { path: "/t/tokenizer.json", sha256: "ab", endIds: [7, 8], padId: -1 },
    });
    expect(state("c")?.models.map(({ modelId }) => modelId)).toEqual(["y"]);
    expect(warnings).toEqual([
      "p/named: the configuration has a model or alias of that name",
      "q/x: pool p has a model of that name and was first",
      "q/nick: the configuration has a model or alias of that name",
    ]);
  });

  test("leaves out what takes token ids only, unless there is a tokenizer", () => {
    const ids = create(ReplicaModelSchema, { engineModel: "ids", ready: true, needsTokenizer: true });
    const namesOf = (pools: Parameters<typeof desiredFrom>[0]["pools"]) => {
      const { catalog, models } = setUp({ pools, models: [], aliases: [] });
      catalog.observe({ kind: "answered", replica: replica("a", "p"), result: { ...result("x"), models: [ids] } });
      return models();
    };
    expect(namesOf([discovering("p", ["a"])])).toEqual(["ids"]);
    const bare = { ...defaults.model, chatTemplate: undefined, tokenizer: undefined };
    expect(namesOf([poolSettings("p", ["a"], { discover: bare })])).toEqual([]);
  });

  test("keeps a model while one replica has it, also while that is away, and drops it then", () => {
    const { answered, failed, models, state } = setUp(settings);
    answered("a", "p", "x");
    answered("b", "p", "x");
    answered("a", "p", "z");
    expect(models()).toEqual(["named", "x", "z"]);
    failed("b", "p");
    failed("b", "p");
    expect(models()).toEqual(["named", "x", "z"]);
    expect(state("b")?.health).toBe(ReplicaHealth.DOWN);
    answered("b", "p", "z");
    expect(models()).toEqual(["named", "z"]);
  });

  test.each([
    ["/models/tiny.gguf", "models/tiny.gguf"],
    ["Qwen/Qwen3-8B", "Qwen/Qwen3-8B"],
    ["a b\nc", "a-b-c"],
    ["...", ""],
  ])("the name %j is callable as %j", (name, expected) => {
    expect(callableName(name)).toBe(expected);
  });

  test("a pool adds a bounded number of models", () => {
    const engineModels = Array.from({ length: 1_500 }, (_, index) => `m${index}`);
    const { found, refused } = discover(new Map(), {
      poolId: "p",
      rule: { ...defaults.model, chatTemplate: undefined, tokenizer: undefined },
      engineModels,
      taken: new Set(),
      nowMs: 0,
    });
    expect(found.size).toBe(1_000);
    expect(refused).toHaveLength(1);
  });
});

describe("the watch", () => {
  function watching(settings = { pools: [poolSettings("p", ["a"])], models: [modelSettings("m", "p")], aliases: [] }) {
    const world = setUp(settings);
    const clock = new SimulatedClock();
    const open = (sink = new RecordingSink<WatchResponse>()) => {
      const cancel = watchCatalog(world.store, clock)(
        create(WatchRequestSchema),
        callContext(CatalogService.method.watch),
        sink,
      );
      return { sink, cancel };
    };
    return { ...world, clock, open };
  }
  const short = ({ event }: WatchResponse) =>
    event.case === "change"
      ? `${event.value.deleted ? "-" : "+"}${event.value.resource.case}/${event.value.resource.value?.id}`
      : (event.case ?? "");
  const told = ({ events }: RecordingSink<WatchResponse>) => events.splice(0).map(short);
  const cancelled = fail(ErrorReason.CANCELLED);

  test("tells everything, then its end, then each change with its revision", () => {
    const { open, store, answered } = watching();
    store.settle();
    const { sink, cancel } = open();
    const before = store.revision;
    expect(told(sink)).toEqual(["+pool/p", "+model/m", "+replica/a", "snapshotEnd"]);
    answered("a", "p", "m");
    expect(sink.events.map(({ revision }) => revision)).toEqual([before + 1n]);
    expect(told(sink)).toEqual(["+replica/a"]);
    cancel(cancelled);
    sink.left();
    answered("a", "p", "m");
  });

  test("the snapshot ends only when every replica has been asked", () => {
    const { open, store, answered, clock } = watching();
    const { sink, cancel } = open();
    expect(told(sink)).toEqual(["+pool/p", "+model/m", "+replica/a"]);
    clock.advance(500);
    answered("a", "p", "m");
    expect(told(sink)).toEqual(["heartbeat", "+replica/a"]);
    store.settle();
    expect(told(sink)).toEqual(["snapshotEnd"]);
    cancel(cancelled);
  });

  test("beats every 500 ms, and not after it was cancelled", () => {
    const { open, store, clock } = watching();
    store.settle();
    const { sink, cancel } = open();
    told(sink);
    clock.advance(1_700);
    expect(told(sink)).toEqual(["heartbeat", "heartbeat", "heartbeat"]);
    cancel(cancelled);
    expect(clock.pendingTimers).toBe(0);
  });

  test("a slow watcher gets each resource once, as it is when it reads", () => {
    const discovering = poolSettings("p", ["a"], {
      discover: { ...defaults.model, chatTemplate: undefined, tokenizer: undefined },
    });
    const { open, store, answered, clock } = watching({ pools: [discovering], models: [], aliases: [] });
    store.settle();
    const { sink, cancel } = open();
    told(sink);
    sink.isFull = true;
    for (let round = 0; round < 50; round++) answered("a", "p", `m${round}`);
    clock.advance(5_000);
    expect(told(sink)).toEqual([]);
    sink.isFull = false;
    sink.resume?.();
    const lines = told(sink);
    expect(lines.filter((line) => line === "+replica/a")).toHaveLength(1);
    expect(lines.filter((line) => line.startsWith("+model/"))).toEqual(["+model/m49"]);
    cancel(cancelled);
  });
});

describe("what operators read", () => {
  test("never holds an engine's credential", () => {
    const pool = create(PoolSchema, { id: "p", engineKey: "canary" });
    const shown = withoutSecrets(PoolSchema, pool);
    expect(shown).toMatchObject({ id: "p", engineKey: "" });
    expect(pool.engineKey).toBe("canary");
  });

  test("comes in pages that neither repeat nor lose anything while the list changes", () => {
    const list = ["e", "a", "c", "b", "d"];
    const first = pageOf(list, (item) => item, { pageSize: 2, pageToken: "" }, 50);
    expect(first.items).toEqual(["a", "b"]);
    const changed = list.filter((item) => item !== "b").concat("aa");
    const second = pageOf(changed, (item) => item, { pageSize: 2, pageToken: first.nextPageToken }, 50);
    expect(second.items).toEqual(["c", "d"]);
    const last = pageOf(changed, (item) => item, { pageSize: 2, pageToken: second.nextPageToken }, 50);
    expect(last).toEqual({ items: ["e"], nextPageToken: "" });
    expect(() => pageOf(list, (item) => item, { pageSize: 2, pageToken: "%%%" }, 50)).toThrow(WeirError);
  });
});
