import { CompiledQuery, type Kysely } from "kysely";
import { preparedMark } from "../runtime/postgres/pool.ts";
import { endStage, stageOf } from "./fold.ts";
import { inRow } from "./plain-attempt.ts";
import type { AttemptRow, RecordRow } from "./record.ts";
import type { Series } from "./series.ts";
import {
  type Column,
  int2,
  int4,
  int4OrNull,
  int8,
  names,
  text,
  time,
  unnest,
  uuid,
  uuidBytes,
} from "./store-postgres-columns.ts";
import { addToRollups, failed, slotOf } from "./store-postgres-rollups.ts";

/*
 * One statement, and one round trip, for a batch: rows go in or replace what they are better than; what was there before
 * comes back beside what is there now, and the sums change by the difference; attempts and names follow. PostgreSQL
 * takes the locks of rows in the order of their ids, then those of sums in theirs, so that senders with the same records
 * wait for each other and never in a circle.
 */

const recordColumns: readonly Column<RecordRow>[] = [
  uuid("request_id", (row) => row.requestId),
  uuidBytes("series_id", (row) => row.series.id),
  time("admit_time", (row) => row.admitMs),
  int8("sequence", (row) => row.sequence),
  int4("prompt_tokens", (row) => row.tokens.promptTokens),
  int4("completion_tokens", (row) => row.tokens.completionTokens),
  int4("cached_tokens", (row) => row.tokens.cachedTokens),
  int4("reasoning_tokens", (row) => row.tokens.reasoningTokens),
  int4OrNull("first_token_ms", (row) => row.firstTokenMs),
  int4OrNull("duration_ms", (row) => row.durationMs),
  int4OrNull("queue_ms", (row) => row.queueMs),
  int4OrNull("attempt_delay_ms", (row) => inRow(row)?.delayMs),
  int4OrNull("attempt_duration_ms", (row) => inRow(row)?.durationMs),
  int2("error_reason", (row) => row.errorReason),
  int2("stage", stageOf),
  int2("prompt_source", (row) => row.tokens.promptSource),
  int2("completion_source", (row) => row.tokens.completionSource),
  int2("end_reason", (row) => row.endReason),
  int2("attempts", (row) => (inRow(row) === undefined ? row.attempts.length : 0)),
  text("project_id", (row) => row.series.projectId),
  text("replica_id", (row) => row.replicaId),
];

interface PlacedAttempt {
  readonly requestId: string;
  readonly place: number;
  readonly attempt: AttemptRow;
}

const attemptColumns: readonly Column<PlacedAttempt>[] = [
  uuid("request_id", ({ requestId }) => requestId),
  time("dispatch_time", ({ attempt }) => attempt.dispatchMs),
  int4OrNull("duration_ms", ({ attempt }) => attempt.durationMs),
  int4("prompt_tokens", ({ attempt }) => attempt.tokens.promptTokens),
  int4("completion_tokens", ({ attempt }) => attempt.tokens.completionTokens),
  int4("cached_tokens", ({ attempt }) => attempt.tokens.cachedTokens),
  int4("reasoning_tokens", ({ attempt }) => attempt.tokens.reasoningTokens),
  int2("place", ({ place }) => place),
  int2("prompt_source", ({ attempt }) => attempt.tokens.promptSource),
  int2("completion_source", ({ attempt }) => attempt.tokens.completionSource),
  int2("error_reason", ({ attempt }) => attempt.errorReason),
  text("replica_id", ({ attempt }) => attempt.replicaId),
];

const seriesColumns: readonly Column<Series>[] = [
  uuidBytes("id", ({ id }) => id),
  text("org_id", ({ orgId }) => orgId),
  text("project_id", ({ projectId }) => projectId),
  text("key_id", ({ keyId }) => keyId),
  text("user_id", ({ userId }) => userId),
  text("requested_model", ({ requestedModel }) => requestedModel),
  text("model", ({ model }) => model),
  text("operation", ({ operation }) => operation),
];

const counts = ["prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"] as const;
const firstAttempt = recordColumns.length + 1;
const firstSeries = firstAttempt + attemptColumns.length;

const statement = `${preparedMark}
with changed as (
  insert into usage.records as kept (${names(recordColumns)})
  select * from ${unnest(recordColumns, 1)}
  on conflict (request_id) do update set ${replaced(recordColumns, 1)}
  where kept.stage < ${endStage} and (excluded.stage, excluded.sequence) > (kept.stage, kept.sequence)
  returning new.request_id, ${sides("new")}, ${sides("old")}
), attempted as (
  insert into usage.attempts (${names(attemptColumns)})
  select told.* from ${unnest(attemptColumns, firstAttempt)} as told (${names(attemptColumns)})
  where told.request_id in (select request_id from changed)
  order by told.request_id, told.place
  on conflict (request_id, place) do update set ${replaced(attemptColumns, 1)}
), named as (
  insert into usage.series (${names(seriesColumns)})
  select * from ${unnest(seriesColumns, firstSeries)}
  on conflict do nothing
), difference as (
  select new_series_id as series_id, ${slotOf("new_admit_time")} as slot_time, 1 as requests,
    ${failed("new_end_reason")} as failed_requests, ${counts.map((name) => `new_${name}::bigint as ${name}`).join(", ")},
    ${estimated("new")} as estimated_tokens, 1 as unpriced_requests
  from changed
  union all
  select old_series_id, ${slotOf("old_admit_time")}, -1,
    -${failed("old_end_reason")}, ${counts.map((name) => `-old_${name}::bigint`).join(", ")},
    -${estimated("old")}, -1
  from changed where old_series_id is not null
)
${addToRollups("difference")}`;

/** The statement that keeps rows, which are one an id and in the order of their ids. */
function recordStatement(rows: readonly RecordRow[]): CompiledQuery {
  const attempts = rows.flatMap(placedAttempts);
  const series = [...new Set(rows.map((row) => row.series))].sort((a, b) => a.id.compare(b.id));
  const parameters = [
    ...recordColumns.map(({ encode }) => encode(rows)),
    ...attemptColumns.map(({ encode }) => encode(attempts)),
    ...seriesColumns.map(({ encode }) => encode(series)),
  ];
  return CompiledQuery.raw(statement, parameters);
}

/** Keeps rows; see {@link recordStatement}. */
export async function keepRecords(db: Kysely<unknown>, rows: readonly RecordRow[]): Promise<void> {
  await db.executeQuery(recordStatement(rows));
}

function placedAttempts(row: RecordRow): PlacedAttempt[] {
  if (inRow(row) !== undefined) return [];
  return row.attempts.map((attempt, place) => ({ requestId: row.requestId, place, attempt }));
}

function replaced(columns: readonly Column<never>[], keyColumns: number): string {
  return columns
    .slice(keyColumns)
    .map(({ name }) => `${name} = excluded.${name}`)
    .join(", ");
}

/** What sums need of a row before and after. */
function sides(side: "new" | "old"): string {
  const wanted = ["series_id", "admit_time", "end_reason", "prompt_source", "completion_source", ...counts];
  return wanted.map((name) => `${side}.${name} as ${side}_${name}`).join(", ");
}

/** Of a row's tokens, those that were estimated. */
function estimated(side: "new" | "old"): string {
  const of = (source: string, tokens: string) => `case when ${side}_${source} = 3 then ${side}_${tokens} else 0 end`;
  return `(${of("prompt_source", "prompt_tokens")} + ${of("completion_source", "completion_tokens")})::bigint`;
}
