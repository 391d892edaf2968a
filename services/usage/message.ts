import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { UsageRowSchema } from "../../gen/ts/weir/usage/v1/usage_query_pb.ts";
import {
  Pricing,
  type TokenCountsSchema,
  type UsageRecordSchema,
  UsageState,
} from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { GroupName, SumRow } from "./query.ts";
import type { Counts, RecordRow } from "./record.ts";

/** A record as the contract tells it. */
export function recordFromRow(row: RecordRow): MessageInitShape<typeof UsageRecordSchema> {
  const { series, attempts } = row;
  return {
    requestId: row.requestId,
    state: row.state,
    sequence: BigInt(row.sequence),
    orgId: series.orgId,
    projectId: series.projectId,
    keyId: series.keyId,
    userId: series.userId,
    requestedModel: series.requestedModel,
    model: series.model,
    replicaId: row.replicaId,
    operation: series.operation,
    admitTime: timestampFromMs(row.admitMs),
    ...(row.firstTokenMs === undefined ? {} : { timeToFirstToken: durationFromMs(row.firstTokenMs) }),
    ...(row.durationMs === undefined ? {} : { duration: durationFromMs(row.durationMs) }),
    ...(row.queueMs === undefined ? {} : { queueTime: durationFromMs(row.queueMs) }),
    tokens: countsMessage(row.tokens),
    endReason: row.endReason,
    errorReason: row.errorReason,
    checkpoint: row.checkpoint,
    attempts: attempts.map((attempt) => ({
      replicaId: attempt.replicaId,
      dispatchTime: timestampFromMs(attempt.dispatchMs),
      ...(attempt.durationMs === undefined ? {} : { duration: durationFromMs(attempt.durationMs) }),
      tokens: countsMessage(attempt.tokens),
      errorReason: attempt.errorReason,
    })),
    // There is no price book so far: what it costs is not known, which is not 0.
    ...(row.state === UsageState.FINAL ? { cost: { pricing: Pricing.UNPRICED } } : {}),
  };
}

/** A row of sums as the contract tells it. */
export function rowFromSums(row: SumRow, groups: readonly GroupName[]): MessageInitShape<typeof UsageRowSchema> {
  const valueOf = (name: GroupName) => row.values[groups.indexOf(name)] ?? "";
  return {
    startTime: timestampFromMs(row.startMs),
    projectId: valueOf("project_id"),
    keyId: valueOf("key_id"),
    userId: valueOf("user_id"),
    model: valueOf("model"),
    requests: row.requests,
    failedRequests: row.failedRequests,
    promptTokens: row.promptTokens,
    completionTokens: row.completionTokens,
    cachedTokens: row.cachedTokens,
    reasoningTokens: row.reasoningTokens,
    estimatedTokens: row.estimatedTokens,
    unpricedRequests: row.unpricedRequests,
  };
}

function countsMessage(counts: Counts): MessageInitShape<typeof TokenCountsSchema> {
  return {
    promptTokens: BigInt(counts.promptTokens),
    completionTokens: BigInt(counts.completionTokens),
    cachedTokens: BigInt(counts.cachedTokens),
    reasoningTokens: BigInt(counts.reasoningTokens),
    promptSource: counts.promptSource,
    completionSource: counts.completionSource,
  };
}
