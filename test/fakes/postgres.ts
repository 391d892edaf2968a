import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import type { Kysely } from "kysely";
import pg from "pg";
import { pino } from "pino";
import { inject } from "vitest";
import { type Migrations, migrate } from "../../services/runtime/postgres/migrate.ts";
import { migrationLimits, openPool, type PostgresPool } from "../../services/runtime/postgres/pool.ts";

/** An empty database of the run's PostgreSQL. Disposing closes the pool and drops it. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  readonly pool: PostgresPool;
  kysely<T>(): Kysely<T>;
}

export interface TestDatabaseOptions {
  /** Migrations by the schema that they belong to, applied in the order given. */
  readonly migrations?: Readonly<Record<string, Migrations>>;
}

/** Makes a database for one test or one file; takes about 50 ms once the server runs. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const serverUrl = await postgresUrl();
  const name = `test_${randomBytes(6).toString("hex")}`;
  await administer(serverUrl, `create database ${name} template template0`);
  const url = withDatabase(serverUrl, name);
  for (const [schema, migrations] of Object.entries(options.migrations ?? {})) {
    await using pool = openPool(url, { log, ...migrationLimits });
    await migrate(pool.kysely(), migrations, { schema });
  }
  // A busy machine is no failure of what is tested.
  const pool = openPool(url, { log, connectTimeoutMs: 10_000, queryTimeoutMs: 20_000 });
  return {
    url,
    pool,
    kysely: () => pool.kysely(),
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await administer(serverUrl, `drop database ${name} with (force)`);
    },
  };
}

// The pools' warnings are about connections that a test broke on purpose.
const log = pino({ level: "silent" });

let known: Promise<string> | undefined;

/** The URL of the run's PostgreSQL, which starts now if nobody asked before. */
function postgresUrl(): Promise<string> {
  known ??= askForUrl();
  return known;
}

async function askForUrl(): Promise<string> {
  const reply = JSON.parse(await text(connect(inject("postgresPort"), "127.0.0.1"))) as {
    url?: string;
    error?: string;
  };
  if (reply.url === undefined) throw new Error(`the tests' PostgreSQL did not start: ${reply.error}`);
  return reply.url;
}

function withDatabase(url: string, name: string): string {
  return url.replace(/[^/]+$/, name);
}

async function administer(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: withDatabase(url, "postgres"), connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
