import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { type UsageFilter, UsageGroup, type UsageQuery } from "../../gen/ts/weir/usage/v1/usage_query_pb.ts";
import type { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { invalid } from "../runtime/arguments.ts";
import { timeZoneOf } from "../runtime/time-zone.ts";
import { type Step, stepFrom, tooMany } from "./steps.ts";
import type { Owner } from "./store.ts";

/** What sums may be split by, as the columns are called. */
export type GroupName = "project_id" | "key_id" | "user_id" | "model";

/** Lists are alternatives; an empty one asks for nothing. */
export interface Filter {
  readonly projectIds: readonly string[];
  readonly keyIds: readonly string[];
  readonly userIds: readonly string[];
  readonly models: readonly string[];
  readonly endReasons: readonly EndReason[];
}

/** What to sum up, where from, and how. */
export interface SumPlan {
  readonly owner: Owner;
  readonly filter: Filter;
  /** Whole steps. */
  readonly startMs: number;
  readonly endMs: number;
  readonly step: Step;
  readonly timeZone: string;
  readonly groups: readonly GroupName[];
  /** Sums do not tell minutes, nor how requests ended. */
  readonly source: "rollups" | "records";
  /** Only rows after this one. */
  readonly after: SumKey | undefined;
}

/** The place of a row among the others: its step's start, and a value for each group. */
export interface SumKey {
  readonly startMs: number;
  readonly values: readonly string[];
}

/** A row of sums. */
export interface SumRow extends SumKey {
  readonly requests: bigint;
  readonly failedRequests: bigint;
  readonly promptTokens: bigint;
  readonly completionTokens: bigint;
  readonly cachedTokens: bigint;
  readonly reasoningTokens: bigint;
  readonly estimatedTokens: bigint;
  readonly unpricedRequests: bigint;
}

/** Which records to list. */
export interface ListPlan {
  readonly projectId: string;
  readonly startMs: number | undefined;
  readonly endMs: number | undefined;
  readonly filter: Filter;
  /** Undefined: all. */
  readonly requestId: string | undefined;
  /** Only older ids than this one. */
  readonly before: string | undefined;
}

const groupNames: Readonly<Record<UsageGroup, GroupName | undefined>> = {
  [UsageGroup.UNSPECIFIED]: undefined,
  [UsageGroup.PROJECT]: "project_id",
  [UsageGroup.KEY]: "key_id",
  [UsageGroup.USER]: "user_id",
  [UsageGroup.MODEL]: "model",
};

/** Records are read for at most as many days: more of them are a job for an export. */
const recordsMaxMs = 31 * 86_400_000;

/** A query as its own words ask for it: its times are not rounded yet. Throws INVALID_ARGUMENT. */
export function planFrom(query: UsageQuery, owner: Owner, keptFromMs: number): Omit<SumPlan, "after"> {
  const startMs = msOf(query.startTime);
  const endMs = msOf(query.endTime);
  const step = stepFrom(query.step);
  if (tooMany(startMs, endMs, step)) throw invalid("query.step", "these are more than 10,000 steps");
  const timeZone = timeZoneOf(query.timeZone || "UTC");
  if (timeZone === undefined) throw invalid("query.time_zone", "there is no such time zone");
  const filter = filterFrom(query.filter);
  const source = step === "minute" || filter.endReasons.length > 0 ? "records" : "rollups";
  if (source === "records") {
    if (endMs - startMs > recordsMaxMs) {
      throw invalid("query.end_time", "minutes and end_reasons are told for at most 31 days at once");
    }
    if (startMs < keptFromMs) {
      throw invalid("query.start_time", "minutes and end_reasons are told as far back as records are kept");
    }
  }
  const groups = query.groupBy.flatMap((group) => groupNames[group] ?? []);
  return { owner, filter, startMs, endMs, step, timeZone, groups, source };
}

/** The contract's filter; unset: everything. */
export function filterFrom(filter: UsageFilter | undefined): Filter {
  const { projectIds = [], keyIds = [], userIds = [], models = [], endReasons = [] } = filter ?? {};
  return { projectIds, keyIds, userIds, models, endReasons };
}

/** A time of the contract, whose calendar ends where it does; unset: its beginning. */
export function msOf(time: Timestamp | undefined): number {
  return time === undefined ? 0 : Math.min(Math.max(0, timestampMs(time)), latestMs);
}

/** No record is from before 1970, nor will one be from after the year 9999. */
const latestMs = Date.UTC(9999, 11, 31);
