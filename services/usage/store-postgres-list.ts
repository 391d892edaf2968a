import { type Kysely, sql } from "kysely";
import type { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { type EndReason, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { endStage } from "./fold.ts";
import { fromRow } from "./plain-attempt.ts";
import type { ListPlan } from "./query.ts";
import type { AttemptRow, Counts, RecordRow } from "./record.ts";
import { admitSlackMs } from "./record-rules.ts";
import { leastIdAt } from "./request-id.ts";
import { anyOf, matches } from "./store-postgres-sums.ts";

interface CountColumns {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly cached_tokens: number;
  readonly reasoning_tokens: number;
  readonly prompt_source: CountSource;
  readonly completion_source: CountSource;
}

interface StoredRecord extends CountColumns {
  readonly request_id: string;
  readonly admit_time: Date;
  readonly sequence: string;
  readonly first_token_ms: number | null;
  readonly duration_ms: number | null;
  readonly queue_ms: number | null;
  readonly attempt_delay_ms: number | null;
  readonly attempt_duration_ms: number | null;
  readonly error_reason: ErrorReason;
  readonly stage: number;
  readonly end_reason: EndReason;
  readonly attempts: number;
  readonly replica_id: string;
  readonly id: Buffer;
  readonly org_id: string;
  readonly project_id: string;
  readonly key_id: string;
  readonly user_id: string;
  readonly requested_model: string;
  readonly model: string;
  readonly operation: string;
}

interface StoredAttempt extends CountColumns {
  readonly request_id: string;
  readonly dispatch_time: Date;
  readonly duration_ms: number | null;
  readonly error_reason: ErrorReason;
  readonly replica_id: string;
}

/** Records of a project, newest first. */
export async function list(db: Kysely<unknown>, plan: ListPlan, limit: number): Promise<RecordRow[]> {
  const { startMs, endMs, requestId, before, filter } = plan;
  const { rows } = await sql<StoredRecord>`
    select records.*, series.org_id, series.key_id, series.user_id, series.requested_model, series.model,
      series.operation, uuid_send(series.id) as id
    from usage.records join usage.series on series.id = records.series_id
    where records.project_id = ${plan.projectId} and series.project_id = ${plan.projectId}
      ${startMs === undefined ? sql`` : sql`and records.request_id >= ${leastIdAt(startMs - admitSlackMs)} and records.admit_time >= ${new Date(startMs)}`}
      ${endMs === undefined ? sql`` : sql`and records.request_id < ${leastIdAt(endMs + admitSlackMs)} and records.admit_time < ${new Date(endMs)}`}
      ${requestId === undefined ? sql`` : sql`and records.request_id = ${requestId}`}
      ${before === undefined ? sql`` : sql`and records.request_id < ${before}`}
      and ${matches({ ...filter, projectIds: [] })} and ${anyOf("records.end_reason", filter.endReasons, "smallint")}
    order by records.request_id desc limit ${limit}`.execute(db);
  const attempts = await attemptsOf(db, rows);
  return rows.map((row) => recordFrom(row, attempts.get(row.request_id) ?? []));
}

/** The attempts that have rows of their own, by their request. */
async function attemptsOf(db: Kysely<unknown>, records: readonly StoredRecord[]): Promise<Map<string, AttemptRow[]>> {
  const wanted = records.filter(({ attempts }) => attempts > 0);
  const found = new Map<string, AttemptRow[]>();
  if (wanted.length === 0) return found;
  // A word that was replaced may have left attempts behind which the present one does not have.
  const { rows } = await sql<StoredAttempt>`
    select attempts.* from usage.attempts
    join unnest(${wanted.map(({ request_id }) => request_id)}::uuid[], ${wanted.map(({ attempts }) => attempts)}::int[])
      as wanted (request_id, count) on wanted.request_id = attempts.request_id and attempts.place < wanted.count
    order by attempts.request_id, attempts.place`.execute(db);
  for (const row of rows) {
    const list = found.get(row.request_id) ?? [];
    list.push(attemptFrom(row));
    found.set(row.request_id, list);
  }
  return found;
}

function recordFrom(row: StoredRecord, attempts: readonly AttemptRow[]): RecordRow {
  const admitMs = row.admit_time.getTime();
  const tokens = countsFrom(row);
  const replicaId = row.replica_id;
  const delayMs = row.attempt_delay_ms;
  const plain = { delayMs: delayMs ?? 0, durationMs: row.attempt_duration_ms ?? undefined };
  return {
    requestId: row.request_id,
    ...stateOf(row.stage),
    sequence: Number(row.sequence),
    series: {
      id: row.id,
      orgId: row.org_id,
      projectId: row.project_id,
      keyId: row.key_id,
      userId: row.user_id,
      requestedModel: row.requested_model,
      model: row.model,
      operation: row.operation,
    },
    replicaId,
    admitMs,
    firstTokenMs: row.first_token_ms ?? undefined,
    durationMs: row.duration_ms ?? undefined,
    queueMs: row.queue_ms ?? undefined,
    tokens,
    endReason: row.end_reason,
    errorReason: row.error_reason,
    attempts: delayMs === null ? attempts : [fromRow({ replicaId, admitMs, tokens }, plain)],
  };
}

function stateOf(stage: number): Pick<RecordRow, "state" | "checkpoint"> {
  if (stage >= 3) return { state: UsageState.FINAL, checkpoint: stage < endStage };
  return { state: stage === 1 ? UsageState.INTENT : UsageState.PROGRESS, checkpoint: false };
}

function attemptFrom(row: StoredAttempt): AttemptRow {
  return {
    replicaId: row.replica_id,
    dispatchMs: row.dispatch_time.getTime(),
    durationMs: row.duration_ms ?? undefined,
    tokens: countsFrom(row),
    errorReason: row.error_reason,
  };
}

function countsFrom(row: CountColumns): Counts {
  return {
    promptTokens: row.prompt_tokens,
    completionTokens: row.completion_tokens,
    cachedTokens: row.cached_tokens,
    reasoningTokens: row.reasoning_tokens,
    promptSource: row.prompt_source,
    completionSource: row.completion_source,
  };
}
