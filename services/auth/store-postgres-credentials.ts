import { type Selectable, sql } from "kysely";
import type { CredentialStore } from "./store.ts";
import { keyFromRow } from "./store-postgres-keys.ts";
import type { AuthDatabase, AuthTables } from "./store-postgres-tables.ts";
import { answered } from "./store-postgres-write.ts";

type FoundRow = Selectable<AuthTables["auth.keys"]> & { org_id: string };

export function credentialStore(db: AuthDatabase): CredentialStore {
  return {
    find: (keyId) => answered(find(db, keyId)),
    changesAfter: (after, limit) => answered(changesAfter(db, after, limit)),
    revokedOf: (keyIds) => answered(revokedOf(db, keyIds)),
    orgOf: (projectId) =>
      answered(
        db
          .selectFrom("auth.projects")
          .select("org_id")
          .where("id", "=", projectId)
          .executeTakeFirst()
          .then((project) => project?.org_id),
      ),
    hasOrg: (orgId) =>
      answered(
        db
          .selectFrom("auth.orgs")
          .select("id")
          .where("id", "=", orgId)
          .executeTakeFirst()
          .then((org) => org !== undefined),
      ),
  };
}

/** The server that runs, and the table that it has: after a fail-over it is another server, after a restore one of them. */
const epoch = sql<string>`concat(extract(epoch from pg_postmaster_start_time()), '-', s.tableoid)`;

/** One statement, so that key and revision are of one moment. */
async function find(db: AuthDatabase, keyId: string): ReturnType<CredentialStore["find"]> {
  const { rows } = await sql<{ state_revision: string; epoch: string; now: Date } & (FoundRow | { id: null })>`
    select s.revision as state_revision, ${epoch} as epoch, clock_timestamp() as now, p.org_id, k.*
    from auth.state s
    left join auth.keys k on k.id = ${keyId}
    left join auth.projects p on p.id = k.project_id`.execute(db);
  const [row] = rows;
  if (!row) throw new Error("auth.state is empty");
  const moment = { revision: BigInt(row.state_revision), epoch: row.epoch, nowMs: row.now.getTime() };
  if (row.id === null) return { ...moment, found: undefined };
  return { ...moment, found: { key: keyFromRow(row), proof: { mac: row.mac, pepperVersion: row.pepper_version } } };
}

/** One statement, so that no change between the revision and the list is missed. */
async function changesAfter(
  db: AuthDatabase,
  after: bigint,
  limit: number,
): ReturnType<CredentialStore["changesAfter"]> {
  const { rows } = await sql<{
    state_revision: string;
    epoch: string;
    now: Date;
    id: string | null;
    revision: string;
    revoked: boolean;
  }>`
    select s.revision as state_revision, ${epoch} as epoch, clock_timestamp() as now, k.id, k.revision, k.revoked
    from auth.state s
    left join lateral (
      select id, revision, revoke_time is not null as revoked
      from auth.keys
      where revision > ${after} and revision > create_revision
      order by revision
      limit ${limit}
    ) k on true
    order by k.revision`.execute(db);
  const [first] = rows;
  if (!first) throw new Error("auth.state is empty");
  return {
    revision: BigInt(first.state_revision),
    epoch: first.epoch,
    nowMs: first.now.getTime(),
    changes: rows.flatMap(({ id, revision, revoked }) =>
      id === null ? [] : [{ keyId: id, revoked, revision: BigInt(revision) }],
    ),
  };
}

async function revokedOf(db: AuthDatabase, keyIds: readonly string[]): Promise<readonly string[]> {
  const { rows } = await sql<{ id: string }>`
    select asked.id
    from unnest(${keyIds}::text[]) as asked (id)
    left join auth.keys k on k.id = asked.id
    where k.id is null or k.revoke_time is not null`.execute(db);
  return rows.map(({ id }) => id);
}
