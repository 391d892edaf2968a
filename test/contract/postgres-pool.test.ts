import { sql } from "kysely";
import type { Migration } from "kysely/migration";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { migrate } from "../../services/runtime/postgres/migrate.ts";
import { migrationLimits, openPool } from "../../services/runtime/postgres/pool.ts";
import { isUnavailable, isUniqueViolation } from "../../services/runtime/postgres/sqlstate.ts";
import { orUnavailable } from "../../services/runtime/postgres/unavailable.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { present } from "../fakes/present.ts";

const log = pino({ level: "silent" });
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

function rejection(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.fail("should have been rejected"),
    (error: unknown) => error,
  );
}

const shelf: Record<string, Migration> = {
  "001_create": {
    up: (db) =>
      db.schema
        .createTable("shelf.book")
        .addColumn("title", "text", (c) => c.unique())
        .execute(),
  },
  "002_year": { up: (db) => db.schema.alterTable("shelf.book").addColumn("year", "integer").execute() },
};

test("migrations run once, whoever of several starts comes first", async () => {
  const runs = Array.from({ length: 4 }, async () => {
    await using pool = openPool(database.url, { log, ...migrationLimits });
    await migrate(pool.kysely(), shelf, { schema: "shelf" });
  });
  await Promise.all(runs);
  const { rows } = await sql`select name from shelf.migration order by name`.execute(database.kysely());
  expect(rows).toEqual([{ name: "001_create" }, { name: "002_year" }]);
});

test("a failing migration leaves nothing of its run behind", async () => {
  const migrations: Record<string, Migration> = {
    "001_good": { up: (db) => db.schema.createTable("broken.one").addColumn("id", "integer").execute() },
    "002_bad": { up: (db) => sql`select 1 / 0`.execute(db).then(() => {}) },
  };
  const error = await rejection(migrate(database.kysely(), migrations, { schema: "broken" }));
  expect(error).toMatchObject({ message: expect.stringContaining("broken"), cause: { code: "22012" } });
  const { rows } = await sql`select to_regclass('broken.one') as found`.execute(database.kysely());
  expect(rows).toEqual([{ found: null }]);
});

test("schemas keep apart what they applied", async () => {
  await using other = await createTestDatabase({ migrations: { shelf } });
  await migrate(other.kysely(), { "001_other": { up: async () => {} } }, { schema: "other" });
  const { rows } = await sql`select name from other.migration`.execute(other.kysely());
  expect(rows).toEqual([{ name: "001_other" }]);
});

test("a duplicate is a unique violation and no outage", async () => {
  await using other = await createTestDatabase({ migrations: { shelf } });
  const insert = () => sql`insert into shelf.book values ('weir')`.execute(other.kysely());
  await insert();
  const error = await rejection(insert());
  expect([isUniqueViolation(error), isUnavailable(error)]).toEqual([true, false]);
  await expect(orUnavailable(insert())).rejects.toThrow(/unique/);
});

test("the server cancels a statement that takes too long, and the connection stays", async () => {
  await using pool = openPool(database.url, { log, connectionsMax: 1, queryTimeoutMs: 1_000, statementTimeoutMs: 50 });
  const db = pool.kysely();
  const before = await backend(db);
  expect(await orUnavailable(sql`select pg_sleep(5)`.execute(db))).toMatchObject({
    kind: "store_unavailable",
    cause: { code: "57014" },
  });
  expect(await backend(db)).toBe(before);
});

test("a connection whose answer does not come is given up for a new one", async () => {
  await using pool = openPool(database.url, { log, connectionsMax: 1, queryTimeoutMs: 50, statementTimeoutMs: 3_000 });
  const db = pool.kysely();
  const before = await backend(db);
  const outcome = await orUnavailable(sql`select pg_sleep(0.5)`.execute(db));
  expect(outcome).toMatchObject({ kind: "store_unavailable", cause: { message: "Query read timeout" } });
  expect(await backend(db)).not.toBe(before);
});

test("waiting for a connection is bounded", async () => {
  await using pool = openPool(database.url, { log, connectionsMax: 1, connectTimeoutMs: 100 });
  const db = pool.kysely();
  const busy = sql`select pg_sleep(0.5)`.execute(db);
  expect(await orUnavailable(sql`select 1`.execute(db))).toMatchObject({ kind: "store_unavailable" });
  await busy;
});

test("a session that forgets its transaction is ended", async () => {
  await using pool = openPool(database.url, { log, idleInTransactionTimeoutMs: 50 });
  const outcome = orUnavailable(
    pool
      .kysely()
      .transaction()
      .execute(async (trx) => {
        const pid = await backend(trx);
        const left = () => sql`select from pg_stat_activity where pid = ${pid}`.execute(database.kysely());
        await expect.poll(async () => (await left()).rows.length, { timeout: 10_000 }).toBe(0);
        await sql`select 1`.execute(trx);
      }),
  );
  expect(await outcome).toMatchObject({ kind: "store_unavailable" });
});

test("an idle connection that the server ends harms nobody", async () => {
  await using pool = openPool(database.url, { log });
  const db = pool.kysely();
  const pid = await backend(db);
  await sql`select pg_terminate_backend(${pid}, 5000)`.execute(database.kysely());
  expect(await backend(db)).not.toBe(pid);
});

test("a server that is not there is an outage", async () => {
  await using pool = openPool("postgresql://weir@%2Fnonexistent/weir", { log });
  expect(await orUnavailable(sql`select 1`.execute(pool.kysely()))).toMatchObject({ kind: "store_unavailable" });
});

async function backend(db: ReturnType<TestDatabase["kysely"]>): Promise<number> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db);
  return present(rows[0]).pid;
}
