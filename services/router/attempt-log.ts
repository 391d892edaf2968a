import type { Logger } from "pino";
import type { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { Audience } from "../../gen/ts/weir/policy/v1/policy_pb.ts";
import type { Counts } from "../drivers/events.ts";
import { reasonName } from "../runtime/errors/reason-name.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { Metrics } from "../runtime/telemetry/metrics.ts";
import type { OperationName } from "./usage/usage-facts.ts";

/** One try at one replica, for the log. */
export interface TryRecord {
  readonly replica: string;
  readonly model: string;
  /** "ok", or the reason why it failed. */
  readonly outcome: string;
  readonly ms: number;
}

/** How a request went. */
export interface RequestRecord {
  readonly operation: OperationName;
  readonly context: CallContext;
  /** The model as the caller named it. */
  readonly asked: string;
  /** The model of the catalogue; undefined if it came to none. */
  readonly model: string | undefined;
  readonly tries: readonly TryRecord[];
  /** Undefined: it ended well. */
  readonly reason: ErrorReason | undefined;
  /** The caller took it back, or was cut off. */
  readonly cancelled: boolean;
  readonly durationMs: number;
  /** Time in the queue. */
  readonly queuedMs: number;
  /** Until the first piece; undefined if none came. */
  readonly firstTokenMs: number | undefined;
  /** Undefined: no engine was asked. */
  readonly counts: Counts | undefined;
}

/** Tells how a request went: one line in the log, and the counters. */
export type RequestLog = (record: RequestRecord) => void;

/**
 * Builds the log of requests: a line for each that did not end well, and at level debug for every one. No line holds what
 * was asked or answered.
 */
export function createRequestLog(log: Logger, metrics: Metrics): RequestLog {
  // Looking for secrets by name costs ten times the line itself, and these fields are all named below.
  const plain = log.child({}, { redact: [] });
  return (record) => {
    if (record.reason !== undefined) plain.info(fieldsOf(record), lines[record.operation]);
    // A line costs as much as the rest of the router's work on a request: its fields are not even made in vain.
    else if (plain.isLevelEnabled("debug")) plain.debug(fieldsOf(record), lines[record.operation]);
    count(record, metrics);
  };
}

const lines: Readonly<Record<OperationName, string>> = {
  generate: "generation",
  embed: "embedding",
  rerank: "reranking",
  count_tokens: "count of tokens",
};

function fieldsOf(record: RequestRecord): object {
  const { context, counts } = record;
  return {
    request_id: context.requestId,
    key_id: context.principal?.keyId,
    org_id: context.principal?.orgId,
    project_id: context.principal?.projectId,
    model: record.asked,
    served_model: record.model,
    end: record.reason === undefined ? "ok" : record.cancelled ? "cancelled" : "failed",
    reason: record.reason === undefined ? undefined : reasonName(record.reason),
    attempts: record.tries,
    queued_ms: Math.round(record.queuedMs),
    first_token_ms: record.firstTokenMs === undefined ? undefined : Math.round(record.firstTokenMs),
    duration_ms: Math.round(record.durationMs),
    prompt_tokens: counts?.promptTokens,
    prompt_source: counts && sourceNames[counts.promptSource],
    completion_tokens: counts?.completionTokens,
    completion_source: counts && sourceNames[counts.completionSource],
    cached_tokens: counts?.cachedTokens,
    reasoning_tokens: counts?.reasoningTokens,
  };
}

const sourceNames: Readonly<Record<CountSource, string>> = {
  [CountSource.UNSPECIFIED]: "unspecified",
  [CountSource.ENGINE]: "engine",
  [CountSource.COUNTED]: "counted",
  [CountSource.ESTIMATED]: "estimated",
};

function count(
  { operation, context, model, counts, reason, durationMs, firstTokenMs }: RequestRecord,
  metrics: Metrics,
): void {
  // The edge counts the requests of its own endpoints, from their first byte on.
  if (context.audience === Audience.PUBLIC) {
    metrics.request({ endpoint: operation, model, outcome: reason ?? "ok" }, durationMs);
    if (model && firstTokenMs !== undefined) metrics.timeToFirstToken({ endpoint: operation, model }, firstTokenMs);
  }
  if (!model || !counts) return;
  const { promptSource, completionSource, cachedTokens = 0, reasoningTokens = 0 } = counts;
  metrics.tokens({ model, kind: "prompt", source: promptSource }, counts.promptTokens);
  metrics.tokens({ model, kind: "cached", source: promptSource }, cachedTokens);
  metrics.tokens({ model, kind: "completion", source: completionSource }, counts.completionTokens);
  metrics.tokens({ model, kind: "reasoning", source: completionSource }, reasoningTokens);
}
