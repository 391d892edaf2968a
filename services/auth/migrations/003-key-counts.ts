import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Migration } from "kysely/migration";

/** How many keys of a project and of an organisation were not revoked, kept by the writes that change it. */
export const keyCounts: Migration = { up };

async function up(db: Kysely<unknown>): Promise<void> {
  for (const table of [sql`auth.projects`, sql`auth.orgs`]) {
    await sql`alter table ${table} add column live_keys integer not null default 0`.execute(db);
  }
  await sql`
    update auth.projects p set live_keys = held.keys
    from (select project_id, count(*) as keys from auth.keys where revoke_time is null group by project_id) held
    where p.id = held.project_id`.execute(db);
  await sql`
    update auth.orgs o set live_keys = held.keys
    from (select org_id, sum(live_keys) as keys from auth.projects group by org_id) held
    where o.id = held.org_id`.execute(db);
  await sql`drop index auth.keys_live`.execute(db);
}
