import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Migration } from "kysely/migration";

/** Records by month, their sums for good, and what was set aside. */
export const ledger: Migration = { up };

/** RETURNING tells the old row beside the new one from this version on, which is what sums are changed by. */
const serverVersionMin = 180_000;

async function up(db: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{ version: number }>`
    select current_setting('server_version_num')::int as version`.execute(db);
  if ((rows[0]?.version ?? 0) < serverVersionMin) throw new Error("the ledger needs PostgreSQL 18 or later");

  // Whose a request is and what it asked for, once: records and sums name it by a digest.
  await sql`
    create table usage.series (
      id uuid primary key,
      org_id text collate "C" not null,
      project_id text collate "C" not null,
      key_id text collate "C" not null,
      user_id text collate "C" not null,
      requested_model text collate "C" not null,
      model text collate "C" not null,
      operation text collate "C" not null
    )`.execute(db);
  await sql`create index series_by_project on usage.series (project_id)`.execute(db);
  await sql`create index series_by_org on usage.series (org_id)`.execute(db);

  // The time is in the id, so that the key of a partition is the id alone, and a duplicate meets its original.
  await sql`
    create table usage.records (
      request_id uuid primary key,
      series_id uuid not null,
      admit_time timestamptz not null,
      sequence bigint not null,
      prompt_tokens integer not null,
      completion_tokens integer not null,
      cached_tokens integer not null,
      reasoning_tokens integer not null,
      first_token_ms integer,
      duration_ms integer,
      queue_ms integer,
      attempt_delay_ms integer,
      attempt_duration_ms integer,
      error_reason smallint not null,
      stage smallint not null,
      prompt_source smallint not null,
      completion_source smallint not null,
      end_reason smallint not null,
      attempts smallint not null,
      project_id text collate "C" not null,
      replica_id text collate "C" not null
    ) partition by range (request_id)`.execute(db);
  await sql`create index records_by_project on usage.records (project_id, request_id)`.execute(db);
  // Few at any time: the requests that run.
  await sql`create index records_running on usage.records (project_id, request_id) where stage < 3`.execute(db);
  await sql`
    create table usage.attempts (
      request_id uuid not null,
      dispatch_time timestamptz not null,
      duration_ms integer,
      prompt_tokens integer not null,
      completion_tokens integer not null,
      cached_tokens integer not null,
      reasoning_tokens integer not null,
      place smallint not null,
      prompt_source smallint not null,
      completion_source smallint not null,
      error_reason smallint not null,
      replica_id text collate "C" not null,
      primary key (request_id, place)
    ) partition by range (request_id)`.execute(db);

  // Changed over and over while its time lasts: with room on its page, a row is replaced in place.
  await sql`
    create table usage.rollups (
      series_id uuid not null,
      slot_time timestamptz not null,
      requests bigint not null,
      failed_requests bigint not null,
      prompt_tokens bigint not null,
      completion_tokens bigint not null,
      cached_tokens bigint not null,
      reasoning_tokens bigint not null,
      estimated_tokens bigint not null,
      unpriced_requests bigint not null,
      primary key (series_id, slot_time)
    ) with (fillfactor = 70)`.execute(db);

  await sql`
    create table usage.quarantine (
      digest bytea primary key,
      time timestamptz not null,
      node_id text not null,
      request_id text not null,
      reason text not null,
      problem text not null,
      record bytea not null
    )`.execute(db);
  await sql`create index quarantine_by_time on usage.quarantine (time)`.execute(db);

  await sql`
    create table usage.nodes (
      node_id text primary key,
      heard_time timestamptz not null,
      complete_time timestamptz not null
    )`.execute(db);
}
