import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { migrations } from "../../services/auth/migrations/migrations.ts";
import type { AuthStore } from "../../services/auth/store.ts";
import { type AuthTables, postgresAuthStore } from "../../services/auth/store-postgres.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { acme, anybody, makeKey, makeTenants } from "./auth-store.ts";

let database: TestDatabase;
let store: AuthStore;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { auth: migrations } });
  store = postgresAuthStore(database.kysely<AuthTables>(), database.kysely<AuthTables>());
  await store.installation.keepPeppers(new Map([[1, "one"]]));
});

afterAll(() => database[Symbol.asyncDispose]());

beforeEach(async () => {
  await sql`truncate auth.keys, auth.projects, auth.orgs`.execute(database.kysely<AuthTables>());
  await makeTenants(store);
});

const createIn = (projectId: string) => makeKey(store, projectId);

test("changes are told by revision, without the keys that were only made", async () => {
  const [a, b] = [await createIn("acme-one"), await createIn("acme-one")];
  const { revision: start } = await store.credentials.changesAfter(0n, 10);
  const c = await createIn("acme-two");
  await store.keys.update(acme, a.id, "", (key) => ({ ...key, name: "x" }));
  await store.keys.revoke(acme, b.id, "", anybody);
  await store.keys.update(acme, a.id, "", (key) => ({ ...key, name: "y" }));
  const all = await store.credentials.changesAfter(start, 10);
  expect(all.changes).toEqual([
    { keyId: b.id, revoked: true, revision: start + 3n },
    { keyId: a.id, revoked: false, revision: start + 4n },
  ]);
  expect(all.revision).toBe(start + 4n);
  expect((await store.credentials.changesAfter(start, 1)).changes.map(({ keyId }) => keyId)).toEqual([b.id]);
  expect((await store.credentials.changesAfter(start + 4n, 10)).changes).toEqual([]);
  expect((await store.credentials.find(c.id)).found?.key.id).toBe(c.id);
  expect((await store.credentials.find("nobody")).found).toBeUndefined();
});

test("whoever has seen a revision has seen every change up to it, with many writers at once", async () => {
  const keys = [];
  for (let n = 0; n < 8; n++) keys.push(await createIn(n % 2 ? "acme-one" : "acme-two"));
  const { revision: start } = await store.credentials.changesAfter(0n, 10);
  const seen = new Map<string, number>();
  let after = start;
  let writing = true;
  const watching = (async () => {
    for (let last = false; !last; ) {
      last = !writing;
      const read = await store.credentials.changesAfter(after, 3);
      for (const { keyId, revision } of read.changes) {
        expect(revision).toBeGreaterThan(after);
        after = revision;
        seen.set(keyId, (seen.get(keyId) ?? 0) + 1);
      }
      if (read.changes.length < 3) after = read.revision;
      else last = false;
    }
  })();
  const rounds = 12;
  await Promise.all(
    keys.map(async (key) => {
      const project = { projectId: key.projectId, orgId: undefined };
      for (let n = 1; n <= rounds; n++) {
        await store.keys.update(project, key.id, "", (current) => ({ ...current, name: String(n) }));
      }
    }),
  );
  writing = false;
  await watching;
  // The counter took one step a write, and the last change of every key was seen.
  expect(after).toBe(start + BigInt(rounds * keys.length));
  expect([...seen.keys()].sort()).toEqual(keys.map(({ id }) => id).sort());
});

test("a writer that waits holds back the revisions after it", async () => {
  const [a, b] = [await createIn("acme-one"), await createIn("acme-one")];
  const { revision: start } = await store.credentials.changesAfter(0n, 10);
  const db = database.kysely<AuthTables>();
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  // A write by hand that has taken its revision and is slow to commit.
  const slow = db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(${0x7765697261757468n})`.execute(trx);
    await sql`update auth.state set revision = revision + 1`.execute(trx);
    await sql`update auth.keys set revision = ${start + 1n} where id = ${a.id}`.execute(trx);
    started.resolve();
    await gate.promise;
  });
  await started.promise;
  const fast = store.keys.revoke(acme, b.id, "", anybody);
  expect(await store.credentials.changesAfter(start, 10)).toMatchObject({ revision: start, changes: [] });
  gate.resolve();
  await Promise.all([slow, fast]);
  const { changes } = await store.credentials.changesAfter(start, 10);
  expect(changes.map(({ keyId }) => keyId)).toEqual([a.id, b.id]);
});

test("revisions are of one epoch for as long as the server and its tables are the same", async () => {
  const { epoch } = await store.credentials.find("nobody");
  await createIn("acme-one");
  expect((await store.credentials.changesAfter(1n, 1)).epoch).toBe(epoch);
  await using restored = await createTestDatabase({ migrations: { auth: migrations } });
  const other = postgresAuthStore(restored.kysely<AuthTables>(), restored.kysely<AuthTables>());
  expect((await other.credentials.find("nobody")).epoch).not.toBe(epoch);
});
