import type { ControlText, ReasoningParser, ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { GatedMember } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";

/**
 * The configuration with every default filled in, every file read and every name resolved: what the code works with.
 * Times are in milliseconds, sizes in bytes.
 */
export interface Settings {
  readonly roles: ReadonlySet<RoleName>;
  readonly listen: {
    readonly host: string;
    readonly port: number;
    readonly adminPort: number;
    readonly meshPort: number;
  };
  /** Absolute. */
  readonly dataDir: string;
  /** Undefined: the name that `dataDir` keeps. */
  readonly nodeId: string | undefined;
  readonly postgres: {
    /** Undefined: the embedded one is started. */
    readonly url: string | undefined;
    readonly connectionsMax: number;
  };
  readonly mesh: {
    /** Base URL of the process that runs a role which this one does not. */
    readonly peers: Readonly<Record<string, string>>;
    /** Absolute. */
    readonly tokenFile: string;
  };
  readonly http: HttpSettings;
  readonly auth: {
    readonly staleMaxMs: number;
    /** Absolute. */
    readonly pepperFile: string;
  };
  readonly router: {
    readonly queueMax: number;
    readonly queueTimeoutMs: number;
    readonly attemptsMax: number;
  };
  readonly usage: {
    /** Absolute. */
    readonly journalDir: string;
    readonly journalBytesMax: number;
    readonly retentionMs: number;
  };
  readonly models: readonly ModelSettings[];
  readonly aliases: readonly { readonly id: string; readonly model: string }[];
  readonly pools: readonly PoolSettings[];
  /** Absolute paths of modules. */
  readonly extensions: readonly string[];
  readonly log: { readonly level: LogLevel };
  readonly probe: { readonly intervalMs: number; readonly timeoutMs: number };
}

/** A part of the product that a process can run. */
export type RoleName = "edge" | "router" | "catalog" | "auth" | "quota" | "usage";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

/** Bounds of the public port. */
export interface HttpSettings {
  readonly bodyBytesMax: number;
  readonly connectionsPerAddressMax: number;
  /** CIDR blocks. */
  readonly trustedProxies: readonly string[];
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly slowReaderTimeoutMs: number;
  readonly keepaliveIntervalMs: number;
  readonly strict: boolean;
  readonly badKeysPerMinuteMax: number;
  readonly acceptAfterMs: number;
}

/** A model that callers name. */
export interface ModelSettings extends PlainTextSettings {
  readonly id: string;
  readonly pool: string;
  readonly engineModel: string;
  readonly ownedBy: string;
  /** 0: as the engine says. */
  readonly contextLength: number;
  readonly maxOutputTokens: number;
  readonly fallbacks: readonly string[];
  readonly disabled: boolean;
  readonly controlText: ControlText;
}

/** What is done for engines that only continue a text. */
export interface PlainTextSettings {
  readonly chatTemplate: ChatTemplateSettings | undefined;
  readonly tokenizer: TokenizerSettings | undefined;
  readonly toolParser: ToolParser;
  readonly reasoningParser: ReasoningParser;
}

/** A chat template as it was read. */
export interface ChatTemplateSettings {
  /** The jinja source. */
  readonly source: string;
  /** bos_token, eos_token and the like. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Texts that an engine would take for control tokens. */
  readonly controlTokens: readonly string[];
}

/** A tokenizer that was read and found good. */
export interface TokenizerSettings {
  /** Its tokenizer.json: absolute. */
  readonly path: string;
  /** Of the file, in hex. */
  readonly sha256: string;
  /** Tokens that end an answer, the tokenizer's own first. */
  readonly endIds: readonly number[];
  readonly padId: number | undefined;
  /** The texts of tokens that are no text. */
  readonly specialTokens: readonly string[];
}

/** Engines that serve the same models in the same way. */
export interface PoolSettings {
  readonly id: string;
  readonly replicas: readonly ReplicaSettings[];
  readonly hosted: boolean;
  readonly allowedMembers: readonly GatedMember[];
  readonly engineKey: string | undefined;
  /** The header that carries the key as it is; empty: where the protocol has its place for it. */
  readonly engineKeyHeader: string;
  readonly choicesMax: number;
  /** 0: as many as the engine says. */
  readonly concurrencyMax: number;
  readonly firstEventTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly toolIdleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly receiveBytesMax: number;
  /**
   * The pool was named by `--engine`: every model that its replicas report is served under the engine's own name, with
   * this template and these parsers.
   */
  readonly discover: PlainTextSettings | undefined;
}

/** A running engine. */
export interface ReplicaSettings {
  readonly id: string;
  readonly url: string;
  /** Where the same engine serves HTTP too; empty: nowhere that is known. */
  readonly httpUrl: string;
  /** DIALECT_UNSPECIFIED: it is asked. */
  readonly dialect: Dialect;
}
