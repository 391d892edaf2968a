import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Migration } from "kysely/migration";

/** Keys that were not revoked are counted at every create. */
export const liveKeys: Migration = { up };

async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index keys_live on auth.keys (project_id) where revoke_time is null`.execute(db);
}
