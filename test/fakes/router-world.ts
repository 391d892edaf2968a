import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Principal, PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type WatchResponse_Change, WatchResponseSchema } from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { AliasSchema, ModelSchema } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { PoolSchema } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { Dialect, Feature, ReplicaHealth, ReplicaSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Audience, ScopeKind } from "../../gen/ts/weir/policy/v1/policy_pb.ts";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
  InferenceService,
} from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Target } from "../../services/drivers/driver.ts";
import { Admission } from "../../services/router/admission/admission.ts";
import type { RequestRecord } from "../../services/router/attempt-log.ts";
import { createSchemaChecker } from "../../services/router/form/schema-checker.ts";
import { Fleet } from "../../services/router/fleet/fleet.ts";
import { createGenerations, type Generations } from "../../services/router/generate.ts";
import type { GenerationDeps } from "../../services/router/generation-deps.ts";
import { createAnswerEstimate } from "../../services/router/metering/answer-estimate.ts";
import { createTokenEstimate } from "../../services/router/metering/token-estimate.ts";
import { createTokenizers } from "../../services/drivers/tokens/tokenizers.ts";
import { createPromptRenderer } from "../../services/router/prompt/chat-template.ts";
import { createUnaries, type Unaries } from "../../services/router/unary/unary.ts";
import { Quarantine } from "../../services/router/quarantine/quarantine.ts";
import { noQuota, type Quota } from "../../services/router/quota/quota.ts";
import { UsageJournal } from "../../services/router/usage/usage-journal.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";
import type { CallContext } from "../../services/runtime/mesh/context.ts";
import { MemoryJournal } from "./memory-journal.ts";
import { RecordingSink } from "./recording-sink.ts";
import { ScriptedDriver, type ScriptedTry } from "./scripted-driver.ts";
import { SimulatedClock } from "./simulated-clock.ts";

/** What a conversational model at a replica can do, when a test says nothing else. */
export const commonFeatures: readonly Feature[] = [
  Feature.CONVERSATION,
  Feature.PROMPT,
  Feature.STREAM,
  Feature.CANCEL,
];

export interface WorldOptions {
  readonly queueMax?: number;
  readonly queueTimeoutMs?: number;
  readonly attemptsMax?: number;
  /** False: the catalogue was not told whole so far. */
  readonly synced?: boolean;
  readonly quota?: Quota;
}

/** A call as a test follows it. */
export interface Call {
  readonly sink: RecordingSink<GenerateResponse>;
  cancel(reason: WeirError): void;
}

/** A router with scripted engines and simulated time: everything of it is real but the engines, the wire and the clock. */
export class RouterWorld {
  readonly clock = new SimulatedClock();
  /** By replica id: the driver that was opened last. */
  readonly drivers = new Map<string, ScriptedDriver>();
  readonly targets: Target[] = [];
  readonly records: RequestRecord[] = [];
  readonly ejected: string[] = [];
  readonly journal = new MemoryJournal();
  readonly fleet: Fleet;
  readonly admission: Admission;
  readonly generations: Generations;
  readonly unaries: Unaries;
  /** Their thread is started by the first one. */
  readonly tokenizers = createTokenizers({ clock: this.clock, unusable: () => undefined });
  /** Its thread is started by the first schema, and has the machine's own time. */
  readonly schemas = createSchemaChecker(systemClock);
  inFlight = 0;
  queued = 0;
  #requests = 0;
  readonly #later: (() => void)[] = [];

  constructor({
    queueMax = 100,
    queueTimeoutMs = 60_000,
    attemptsMax = 3,
    synced = true,
    quota = noQuota,
  }: WorldOptions = {}) {
    const { clock } = this;
    this.fleet = new Fleet({
      clock,
      openDriver: (dialect, target) => {
        const driver = new ScriptedDriver(dialect);
        this.targets.push(target);
        this.drivers.set(target.url.replace("http://", ""), driver);
        return driver;
      },
      changed: (poolId) => this.admission.changed(poolId),
      closeFailed: (_id, error) => {
        throw error;
      },
    });
    const count = (name: "inFlight" | "queued") => () => {
      this[name] += 1;
      return () => void (this[name] -= 1);
    };
    this.admission = new Admission({
      clock,
      chance: () => 0.999,
      fleet: this.fleet,
      queueMax,
      queueTimeoutMs,
      queued: count("queued"),
    });
    const deps: GenerationDeps = {
      clock,
      fleet: this.fleet,
      admission: this.admission,
      renderer: createPromptRenderer(),
      tokenizers: this.tokenizers,
      schemas: this.schemas,
      estimate: createTokenEstimate(),
      answers: createAnswerEstimate(),
      quota,
      quarantine: new Quarantine({ clock, queueTimeoutMs, schedule: (run) => void this.#later.push(run) }),
      attemptsMax,
      cacheSalt: (project) => `salt-of-${project}`,
      metrics: { inFlight: count("inFlight") },
      usage: new UsageJournal(this.journal, clock),
      log: (record) => void this.records.push(record),
      ejected: (replica) => void this.ejected.push(replica),
    };
    this.generations = createGenerations(deps);
    this.unaries = createUnaries(deps);
    this.fleet.begin();
    if (synced) this.snapshotEnd();
  }

  /** The catalogue was told whole. */
  snapshotEnd(): void {
    this.fleet.apply(create(WatchResponseSchema, { event: { case: "snapshotEnd", value: {} } }));
  }

  model(init: MessageInitShape<typeof ModelSchema>): void {
    this.#change({ case: "model", value: create(ModelSchema, { poolId: "pool", ...init }) });
  }

  alias(id: string, modelId: string): void {
    this.#change({ case: "alias", value: create(AliasSchema, { id, modelId }) });
  }

  pool(init: MessageInitShape<typeof PoolSchema> = {}): void {
    this.#change({ case: "pool", value: create(PoolSchema, { id: "pool", ...init }) });
  }

  /** A replica that has these models; its driver is found under its id. */
  replica(id: string, over: ReplicaOptions = {}): void {
    const {
      models = ["m"],
      features = commonFeatures,
      up = true,
      ready = true,
      poolId = "pool",
      contextLength = 0,
    } = over;
    const value = create(ReplicaSchema, {
      id,
      poolId,
      url: over.url ?? `http://${id}`,
      dialect: over.dialect ?? Dialect.OPENAI,
      state: {
        health: up ? ReplicaHealth.READY : ReplicaHealth.DOWN,
        models: models.map((modelId) => ({
          modelId,
          engineModel: `engine-${modelId}`,
          ready,
          features: [...features],
          flavour: over.flavour ?? "",
          needsTokenizer: over.needsTokenizer ?? false,
          contextLength: BigInt(contextLength),
        })),
        load: { running: over.running ?? -1, waiting: -1, kvUsed: -1 },
      },
    });
    this.#change({ case: "replica", value });
  }

  /** The replica is gone. */
  removeReplica(id: string): void {
    this.#change({ case: "replica", value: create(ReplicaSchema, { id, poolId: "pool" }) }, true);
  }

  driver(id: string): ScriptedDriver {
    const driver = this.drivers.get(id);
    if (!driver) throw new Error(`no driver of ${id}`);
    return driver;
  }

  /** The newest try at the replica. */
  tryAt(id: string): ScriptedTry {
    return this.driver(id).last;
  }

  /** The replicas where anything was tried so far. */
  busyReplicas(): string[] {
    return [...this.drivers].filter(([, driver]) => driver.tries.length > 0).map(([id]) => id);
  }

  /** Lets the later turns of the event loop come, in which contents are read. */
  turns(): void {
    for (let run = this.#later.shift(); run; run = this.#later.shift()) run();
  }

  /** Calls Generate, as the project's key that may call everything unless another is given. */
  call(
    request: MessageInitShape<typeof GenerateRequestSchema> = {},
    principal: Principal | undefined = anyone(),
  ): Call {
    const sink = new RecordingSink<GenerateResponse>();
    const context = contextOf(`request-${++this.#requests}`, principal, this.clock.monotonicMs());
    const cancel = this.generations.push(hello(request), context, sink);
    return {
      sink,
      cancel(reason) {
        sink.left();
        cancel(reason);
      },
    };
  }

  /** Calls Embed, Rerank or CountTokens. */
  ask<N extends "embed" | "rerank" | "countTokens">(
    name: N,
    request: Parameters<Unaries[N]>[0],
    { principal = anyone(), signal = new AbortController().signal }: AskOptions = {},
  ): ReturnType<Unaries[N]> {
    const context = { ...contextOf(`request-${++this.#requests}`, principal, this.clock.monotonicMs()), signal };
    const call = this.unaries[name] as (
      request: Parameters<Unaries[N]>[0],
      context: CallContext,
    ) => ReturnType<Unaries[N]>;
    return call(request, context);
  }

  #change(resource: WatchResponse_Change["resource"], deleted = false): void {
    this.fleet.apply(create(WatchResponseSchema, { event: { case: "change", value: { resource, deleted } } }));
  }
}

interface AskOptions {
  readonly principal?: Principal;
  readonly signal?: AbortSignal;
}

export interface ReplicaOptions {
  readonly models?: readonly string[];
  readonly features?: readonly Feature[];
  readonly up?: boolean;
  readonly ready?: boolean;
  readonly poolId?: string;
  /** `http://` and the id where it is not told. */
  readonly url?: string;
  readonly contextLength?: number;
  readonly dialect?: Dialect;
  readonly flavour?: string;
  readonly running?: number;
  readonly needsTokenizer?: boolean;
}

/** A request that says hello to model "m". */
function hello(over: MessageInitShape<typeof GenerateRequestSchema> = {}): GenerateRequest {
  return create(GenerateRequestSchema, {
    model: "m",
    input: {
      case: "conversation",
      value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text", value: "Say hello." } }] }] },
    },
    ...over,
  });
}

/** A key that may call these models; all if none are named. */
export function anyone(...names: string[]): Principal {
  return create(PrincipalSchema, {
    keyId: "key",
    orgId: "org",
    projectId: "project",
    permissions: ["*"],
    models: { all: names.length === 0, names },
  });
}

function contextOf(requestId: string, principal: Principal | undefined, nowMs: number): CallContext {
  return {
    method: InferenceService.method.generate,
    audience: Audience.MESH,
    principal,
    scope: { kind: ScopeKind.PROJECT, id: principal?.projectId ?? "", orgId: principal?.orgId ?? "" },
    signal: new AbortController().signal,
    deadlineMs: nowMs + 3_600_000,
    requestId,
    requestHeaders: new Headers(),
    responseHeaders: new Headers(),
  };
}
