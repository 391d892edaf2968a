import { ControlText, ReasoningParser, ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
/**
 * Every default of the configuration, with its reason. `weir.reference.yaml` names the same values, and a test holds the
 * two together.
 */
export const defaults = {
  roles: ["edge", "router", "catalog", "auth", "quota", "usage"],
  listen: {
    /** Nobody else's machine reaches a fresh installation. */
    host: "127.0.0.1",
    port: 8080,
    adminPort: 9090,
    meshPort: 7070,
  },
  dataDir: "data",
  postgres: {
    /** Control-plane calls are rare and short; more would only queue inside PostgreSQL. */
    connectionsMax: 10,
  },
  http: {
    /** Long conversations with pictures fit; a body is parsed in one go, so this also bounds a stall of the loop. */
    bodyBytesMax: 8_388_608,
    connectionsPerAddressMax: 1_024,
    headersTimeoutMs: 10_000,
    requestTimeoutMs: 30_000,
    slowReaderTimeoutMs: 30_000,
    /** Proxies commonly give up after 60 s of silence. */
    keepaliveIntervalMs: 15_000,
    strict: false,
    badKeysPerMinuteMax: 600,
    /** Errors within this time keep their real status; after it a proxy's patience counts more. */
    acceptAfterMs: 10_000,
  },
  auth: { staleMaxMs: 600_000 },
  router: {
    queueMax: 1_024,
    queueTimeoutMs: 60_000,
    attemptsMax: 3,
  },
  usage: {
    /** About ten million records: days of a busy node. */
    journalBytesMax: 268_435_456,
    /** A year and a month to look back at a bill. */
    retentionMs: 34_560_000_000,
  },
  model: {
    ownedBy: "weir",
    /** For engines that must be told; long enough for most answers, short enough to end a runaway. */
    maxOutputTokens: 4_096,
    toolParser: ToolParser.UNSPECIFIED,
    reasoningParser: ReasoningParser.UNSPECIFIED,
    /** Nobody sees the difference but the tokenizer. */
    controlText: ControlText.NEUTRALISE,
  },
  pool: {
    choicesMax: 8,
    /** A long prompt on a busy engine may wait minutes for its first token. */
    firstEventTimeoutMs: 600_000,
    /** An engine that decodes says something far more often; nothing else reveals a dead backend process. */
    idleTimeoutMs: 20_000,
    /** An engine that tells an argument in one piece is silent while it makes it: 20,000 tokens at 30 a second fit. */
    toolIdleTimeoutMs: 600_000,
    totalTimeoutMs: 3_600_000,
    receiveBytesMax: 33_554_432,
    /** Where the protocol has its place for it. */
    engineKeyHeader: "",
  },
  log: { level: "info" },
  probe: { intervalMs: 5_000, timeoutMs: 2_000 },
} as const;
