import { type Kysely, type RawBuilder, sql } from "kysely";
import type { Filter, GroupName, SumPlan, SumRow } from "./query.ts";
import { admitSlackMs } from "./record-rules.ts";
import { leastIdAt } from "./request-id.ts";
import { isWhole, type WholeStep } from "./steps.ts";
import type { Owner } from "./store.ts";
import { firstInstant, localStep } from "./store-postgres-calendar.ts";
import { failed, summed } from "./store-postgres-rollups.ts";

type Sums = { readonly [P in (typeof summed)[number]]: string };
type Groups = { readonly [P in GroupName]?: string };

/** Sums by step and group, in their order. A series that its requests have left for another one has none. */
export async function sums(db: Kysely<unknown>, plan: SumPlan, limit: number): Promise<SumRow[]> {
  const { groups, after } = plan;
  const names = groups.map((name) => sql.ref(name));
  const key = sql.join([sql.ref("step"), ...names]);
  const page =
    after === undefined
      ? sql`true`
      : sql`(${key}) > (${sql.join([stepAt(sql`${new Date(after.startMs)}::timestamptz`, plan), ...after.values])})`;
  const source = plan.source === "rollups" ? fromRollups(plan) : fromRecords(plan);
  const { rows } = await sql<Sums & Groups & { step_time: Date }>`
    select ${sql.join([sql`${startOf(plan)} as step_time`, ...names])},
      ${sql.join(summed.map((name) => sql`sum(${sql.ref(name)})::bigint as ${sql.ref(name)}`))}
    from (select ${stepAt(sql`told.time`, plan)} as step, told.* from (${source}) as told) as told
    where ${page}
    group by ${key} having sum(requests) <> 0 order by ${key} limit ${limit}`.execute(db);
  return rows.map((row) => sumRowFrom(row, row.step_time.getTime(), groups));
}

/** Start and end, rounded outwards by the database's calendar, which also cuts the steps. */
export async function wholeSteps(
  db: Kysely<unknown>,
  [startMs, endMs]: readonly [number, number],
  step: WholeStep,
  timeZone: string,
): Promise<readonly [number, number]> {
  const cut = (ms: number) => localStep(sql`${new Date(ms)}::timestamptz`, step, timeZone);
  // A millisecond before the end lies within the last step, which ends where the next one begins.
  const { rows } = await sql<{ start_time: Date; end_time: Date }>`
    select ${firstInstant(sql`first`, timeZone)} as start_time, ${firstInstant(sql`next`, timeZone)} as end_time
    from (select ${cut(startMs)} as first, ${cut(endMs - 1)} + ${sql.lit(`1 ${step}`)}::interval as next) as cut`.execute(
    db,
  );
  const [row] = rows;
  return row === undefined ? [startMs, endMs] : [row.start_time.getTime(), row.end_time.getTime()];
}

/** Which step a time lies in: by its beginning, of a calendar's steps as the zone's clocks show it. */
function stepAt(time: RawBuilder<Date>, { step, startMs, timeZone }: SumPlan): RawBuilder<Date> {
  if (step === "all") return sql`${new Date(startMs)}::timestamptz`;
  return isWhole(step) ? localStep(time, step, timeZone) : sql`date_trunc(${sql.lit(step)}, ${time}, 'UTC')`;
}

/** When the `step` of {@link stepAt} begins. */
function startOf({ step, timeZone }: SumPlan): RawBuilder<Date> {
  return isWhole(step) ? firstInstant(sql.ref("step"), timeZone) : sql.ref("step");
}

const seriesColumns = sql`series.project_id, series.key_id, series.user_id, series.model`;

function fromRollups(plan: SumPlan): RawBuilder<unknown> {
  return sql`
    select rollups.slot_time as time, ${seriesColumns}, ${sql.join(summed.map((name) => sql.ref(`rollups.${name}`)))}
    from usage.series join usage.rollups on rollups.series_id = series.id
    where ${isOwners(plan.owner)} and ${matches(plan.filter)}
      and rollups.slot_time >= ${firstTime(plan)} and rollups.slot_time < ${new Date(plan.endMs)}`;
}

function fromRecords(plan: SumPlan): RawBuilder<unknown> {
  const { owner, filter, startMs, endMs } = plan;
  const ofProject = "projectId" in owner ? sql`records.project_id = ${owner.projectId}` : sql`true`;
  return sql`
    select records.admit_time as time, ${seriesColumns}, 1 as requests, 1 as unpriced_requests,
      ${sql.raw(failed("records.end_reason"))} as failed_requests, records.prompt_tokens, records.completion_tokens,
      records.cached_tokens, records.reasoning_tokens,
      case when records.prompt_source = 3 then records.prompt_tokens else 0 end::bigint +
      case when records.completion_source = 3 then records.completion_tokens else 0 end as estimated_tokens
    from usage.records join usage.series on series.id = records.series_id
    where ${ofProject} and ${isOwners(owner)} and ${matches(filter)}
      and records.request_id >= ${leastIdAt(startMs - admitSlackMs)}
      and records.request_id < ${leastIdAt(endMs + admitSlackMs)}
      and records.admit_time >= ${firstTime(plan)} and records.admit_time < ${new Date(endMs)}
      and ${anyOf("records.end_reason", filter.endReasons, "smallint")}`;
}

/** Steps before the one that the last page ended in were told. */
function firstTime({ startMs, after }: SumPlan): Date {
  return new Date(Math.max(startMs, after?.startMs ?? startMs));
}

function isOwners(owner: Owner): RawBuilder<boolean> {
  if ("projectId" in owner) return sql`series.project_id = ${owner.projectId}`;
  return sql`series.org_id = ${owner.orgId}`;
}

/** What a series has to be for a filter. */
export function matches(filter: Filter): RawBuilder<boolean> {
  return sql`${anyOf("series.project_id", filter.projectIds, "text")}
    and ${anyOf("series.key_id", filter.keyIds, "text")}
    and ${anyOf("series.user_id", filter.userIds, "text")}
    and ${anyOf("series.model", filter.models, "text")}`;
}

/** Whether a column has one of the values, or there are none to have. */
export function anyOf(column: string, values: readonly unknown[], type: "text" | "smallint"): RawBuilder<boolean> {
  if (values.length === 0) return sql`true`;
  return sql`${sql.ref(column)} = any(${values}::${sql.raw(type)}[])`;
}

function sumRowFrom(row: Sums & Groups, startMs: number, groups: readonly GroupName[]): SumRow {
  return {
    startMs,
    values: groups.map((name) => row[name] ?? ""),
    requests: BigInt(row.requests),
    failedRequests: BigInt(row.failed_requests),
    promptTokens: BigInt(row.prompt_tokens),
    completionTokens: BigInt(row.completion_tokens),
    cachedTokens: BigInt(row.cached_tokens),
    reasoningTokens: BigInt(row.reasoning_tokens),
    estimatedTokens: BigInt(row.estimated_tokens),
    unpricedRequests: BigInt(row.unpriced_requests),
  };
}
