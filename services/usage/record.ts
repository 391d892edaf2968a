import type { EndReason, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { Series } from "./series.ts";

/*
 * A usage record as the ledger works with it: plain values, checked. Times are milliseconds since the epoch, durations
 * milliseconds; a count fits 31 bits.
 */

/** What was counted. */
export interface Counts {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
  readonly reasoningTokens: number;
  readonly promptSource: CountSource;
  readonly completionSource: CountSource;
}

/** One dispatch to a replica. */
export interface AttemptRow {
  readonly replicaId: string;
  readonly dispatchMs: number;
  readonly durationMs: number | undefined;
  readonly tokens: Counts;
  readonly errorReason: ErrorReason;
}

/** One request, as far as it is known. */
export interface RecordRow {
  /** A UUIDv7 in lower case. */
  readonly requestId: string;
  readonly state: UsageState;
  readonly sequence: number;
  readonly checkpoint: boolean;
  readonly series: Series;
  readonly replicaId: string;
  readonly admitMs: number;
  readonly firstTokenMs: number | undefined;
  readonly durationMs: number | undefined;
  readonly queueMs: number | undefined;
  readonly tokens: Counts;
  readonly endReason: EndReason;
  readonly errorReason: ErrorReason;
  readonly attempts: readonly AttemptRow[];
}
