import type { EndReason, UsageState } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Counts } from "../../drivers/events.ts";

/** What a request does, as the ledger and the log call it. */
export type OperationName = "generate" | "embed" | "rerank" | "count_tokens";

/** One dispatch of a request. Times are milliseconds. */
export interface AttemptFacts {
  readonly replicaId: string;
  /** On the wall clock. */
  readonly dispatchMs: number;
  /** Undefined while it runs. */
  readonly durationMs: number | undefined;
  /** Undefined: nothing is known so far. */
  readonly counts: Counts | undefined;
  /** UNSPECIFIED: it answered, or runs. */
  readonly reason: ErrorReason;
}

/** All that a UsageRecord tells, as numbers and texts. Times are milliseconds since the admission. */
export interface UsageFacts {
  readonly requestId: string;
  readonly state: UsageState;
  readonly sequence: number;
  /** Fields that say whose it is and of which model, written by {@link identityFields}. */
  readonly identity: Uint8Array;
  readonly replicaId: string;
  /** On the wall clock. */
  readonly admitMs: number;
  readonly firstTokenMs: number | undefined;
  readonly durationMs: number | undefined;
  readonly queuedMs: number;
  /** The bill; undefined: nothing. */
  readonly counts: Counts | undefined;
  readonly endReason: EndReason;
  readonly errorReason: ErrorReason;
  readonly attempts: readonly AttemptFacts[];
}
