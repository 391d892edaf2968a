import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Migration } from "kysely/migration";

/** Limits, and the one row that orders all writes. What limits have counted is not here. */
export const limits: Migration = { up };

async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table quota.state (
      id smallint primary key check (id = 1),
      revision bigint not null
    )`.execute(db);
  // From 1 on: a reader says 0 for "nothing seen".
  await sql`insert into quota.state (id, revision) values (1, 1)`.execute(db);
  await sql`
    create table quota.limits (
      id text primary key,
      org_id text not null,
      subject_kind smallint not null,
      subject_id text not null,
      spec jsonb not null,
      request_id text not null,
      request_fingerprint text not null,
      create_time timestamptz not null default now(),
      update_time timestamptz not null default now(),
      delete_time timestamptz,
      create_revision bigint not null,
      revision bigint not null,
      unique (org_id, request_id)
    )`.execute(db);
  await sql`
    create index limits_by_org on quota.limits (org_id, create_revision desc) where delete_time is null`.execute(db);
  await sql`
    create index limits_by_subject on quota.limits (subject_kind, subject_id) where delete_time is null`.execute(db);
  await sql`create index limits_changed on quota.limits (revision)`.execute(db);
}
