import { sql } from "kysely";
import { expect, test } from "vitest";
import { migrations } from "../../services/auth/migrations/migrations.ts";
import { type AuthTables, postgresAuthStore } from "../../services/auth/store-postgres.ts";
import { migrate } from "../../services/runtime/postgres/migrate.ts";
import { createTestDatabase } from "../fakes/postgres.ts";
import { acme, anybody, makeTenants, newKey } from "./auth-store.ts";

test("keys that were there before their count was kept are counted", async () => {
  const { "003-key-counts": _count, ...former } = migrations;
  await using database = await createTestDatabase({ migrations: { auth: former } });
  const db = database.kysely<AuthTables>();
  const store = postgresAuthStore(db, db);
  await store.installation.keepPeppers(new Map([[1, "one"]]));
  await makeTenants(store);
  for (const [project, revoked] of [
    ["acme-one", false],
    ["acme-one", true],
    ["acme-two", false],
  ] as const) {
    const id = `${project}${revoked}`;
    await sql`
      insert into auth.keys (
        id, project_id, name, reach, permissions, models_all, model_names, labels, creator_key_id, mac, pepper_version,
        request_id, request_fingerprint, revoke_time, create_revision, revision
      ) values (
        ${id}, ${project}, '', 'project', '{}', false, '{}', '{}', '', '', 1,
        ${id}, '', ${revoked ? sql`now()` : null}, 1, 1
      )`.execute(db);
  }
  await migrate(db, migrations, { schema: "auth" });
  const create = (projectId: string) =>
    store.keys.create({ ...acme, projectId }, newKey(), { perProject: 2, perOrg: 3 }, anybody);
  expect((await create("acme-one")).kind).toBe("created");
  expect((await create("acme-one")).kind).toBe("project_full");
  expect((await create("acme-two")).kind).toBe("org_full");
  expect((await create("umbrella-one")).kind).toBe("created");
});
