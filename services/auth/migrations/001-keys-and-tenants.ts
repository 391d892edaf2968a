import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Migration } from "kysely/migration";

/** Organisations, projects, keys, and the one row that orders all writes. */
export const keysAndTenants: Migration = { up };

async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table auth.state (
      id smallint primary key check (id = 1),
      revision bigint not null,
      first_key_id text
    )`.execute(db);
  // From 1 on: a watcher says 0 for "nothing seen".
  await sql`insert into auth.state (id, revision) values (1, 1)`.execute(db);
  await sql`
    create table auth.peppers (
      version integer primary key check (version > 0),
      fingerprint text not null
    )`.execute(db);
  await sql`
    create table auth.orgs (
      id text primary key,
      name text not null,
      request_id text not null unique,
      request_fingerprint text not null,
      create_time timestamptz not null default now(),
      update_time timestamptz not null default now()
    )`.execute(db);
  await sql`
    create table auth.projects (
      id text primary key,
      org_id text not null references auth.orgs (id),
      name text not null,
      request_id text not null,
      request_fingerprint text not null,
      create_time timestamptz not null default now(),
      update_time timestamptz not null default now(),
      unique (org_id, request_id)
    )`.execute(db);
  await sql`create index projects_by_org on auth.projects (org_id, id)`.execute(db);
  await sql`
    create table auth.keys (
      id text primary key,
      project_id text not null references auth.projects (id),
      name text not null,
      reach text not null check (reach in ('project', 'org', 'installation')),
      permissions text[] not null,
      models_all boolean not null,
      model_names text[] not null,
      start_time timestamptz,
      expire_time timestamptz,
      labels jsonb not null,
      creator_key_id text not null,
      mac bytea not null,
      pepper_version integer not null references auth.peppers (version),
      request_id text not null,
      request_fingerprint text not null,
      create_time timestamptz not null default now(),
      update_time timestamptz not null default now(),
      revoke_time timestamptz,
      create_revision bigint not null,
      revision bigint not null,
      unique (project_id, request_id)
    )`.execute(db);
  await sql`create index keys_by_project on auth.keys (project_id, create_revision desc)`.execute(db);
  // What the watch reads: keys that changed since they were made.
  await sql`create index keys_changed on auth.keys (revision) where revision > create_revision`.execute(db);
}
