import type { Dialect, ReplicaLoad, ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateRequest, GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Cancel, Sink } from "../runtime/mesh/push.ts";
import type { ModelRepository } from "./repository.ts";
import type { Vocabulary } from "./tokens/vocabulary.ts";
import type { UnaryDriver } from "./unary.ts";

/** How to reach one replica, and what to bear from it. Times are in milliseconds, sizes in bytes. */
export interface Target {
  /**
   * grpc://host:port, or http(s)://host:port/path without a trailing slash, for a deployment of Azure's with its version;
   * any://host:port/path for one that may be either, without TLS.
   */
  readonly url: string;
  /** Where the same engine serves HTTP too (Triton its metrics), if that is known: http(s)://host:port. */
  readonly httpUrl: string | undefined;
  /** The credential that the engine wants from us. */
  readonly engineKey: string | undefined;
  /** The header, of gRPC the metadata, that carries it as it is; undefined: where the protocol has its place for it. */
  readonly engineKeyHeader: string | undefined;
  /** The longest message from the engine; a longer one is ANSWER_TOO_LARGE. */
  readonly receiveBytesMax: number;
  /** How long an engine may take to its first event. */
  readonly firstEventMs: number;
  /** How long it may be silent between events. */
  readonly idleMs: number;
  /** The same while functions are on offer and the engine reads their calls itself. */
  readonly toolIdleMs: number;
  /** The longest generation. */
  readonly totalMs: number;
  readonly clock: Clock;
}

/** One try of one request at one replica. */
export interface Attempt {
  /** Our id of this try, unique for ever: the engine's request id. */
  readonly id: string;
  /** What to generate. `model` is the caller's name: send `model.engineModel` to the engine. */
  readonly request: GenerateRequest;
  /** The model at this replica, as the driver's own probe described it. */
  readonly model: ReplicaModel;
  /** The conversation as text, for models without FEATURE_CONVERSATION; else undefined. */
  readonly prompt: string | undefined;
  /** The prompt as token ids, and what makes text of an answer's: for models that need a tokenizer, else undefined. */
  readonly tokens?: PromptTokens | undefined;
  /** The most tokens a choice may have; 0 leaves it to the engine. */
  readonly maxTokens: number;
  /** Members of the OpenAI request that the contract has no field for, which may be passed on. */
  readonly extras: Readonly<Record<string, unknown>>;
  /** Separates tenants in the engine's prefix cache: 43 URL-safe characters, or empty for none. */
  readonly cacheSalt: string;
}

/** Who hears of an attempt. */
export interface AttemptSink extends Sink<GenerateResponse> {
  /**
   * Told while the try is cancelled, or before it fails, where the engine cannot be stopped and goes on: `over` resolves
   * when it has ended.
   */
  lingers(over: Promise<void>): void;
}

/** A prompt as a model's tokenizer has it. */
export interface PromptTokens {
  readonly ids: Uint32Array;
  readonly vocabulary: Vocabulary;
}

/** What a probe found. Model ids of the catalogue are left empty. */
export interface ProbeResult {
  /** The engine's name and version as it says. */
  readonly engine: string;
  readonly models: readonly ReplicaModel[];
  readonly load: ReplicaLoad;
}

/**
 * Speaks one engine's protocol to one replica.
 *
 * `generate` starts a try and returns how to cancel it. To its sink it tells: a `started` event (its message is empty:
 * the router fills it in) at the engine's first sign of acceptance, deltas, a `finished` for every choice, a `usage`
 * if the engine counts, then `end`; or `fail` with a reason ENGINE_*, ANSWER_TOO_LARGE,
 * CONTEXT_LENGTH_EXCEEDED, UNSUPPORTED or INVALID_ARGUMENT. A stream that ends without a `finished` for every choice fails with ENGINE_TRUNCATED. Its texts
 * exclude the prompt and the stop text. It never throws.
 *
 * Cancel reaches the engine at once, in every phase; a model without FEATURE_CANCEL goes on, and `lingers` says until when.
 * Timers (first event, idle, total) are the driver's.
 */
export interface Driver extends AsyncDisposable, UnaryDriver {
  readonly dialect: Dialect;
  /** Loads and unloads models, where the protocol knows such orders. */
  readonly repository?: ModelRepository;
  generate(attempt: Attempt, sink: AttemptSink): Cancel;
  /** Asks what the replica is and has. Rejects with ENGINE_UNAVAILABLE, ENGINE_CREDENTIAL or ENGINE_PROTOCOL. */
  probe(signal: AbortSignal): Promise<ProbeResult>;
}

/** What a server said when it was asked whether it speaks a dialect. */
export type Sighting =
  | "yes"
  /** It, or what stands before it, wants to know first who asks: it may speak any dialect. */
  | "guarded"
  | "no"
  /** That it, or what stands before it, cannot answer now: it may say another thing in a moment. */
  | "away"
  /** Nothing, which may be another thing in a moment. */
  | "silent";

/** One dialect: adding one is a folder and a line in `registry.ts`. */
export interface DriverKind {
  readonly dialect: Dialect;
  /** Whether a server at such an address can speak this dialect at all; the others are not asked. */
  canBeAt(url: string): boolean;
  /** Whether the server at the target speaks this dialect, found by asking it. */
  detect(target: Target, signal: AbortSignal): Promise<Sighting>;
  open(target: Target): Driver;
}
