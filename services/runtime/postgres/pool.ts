import { hash } from "node:crypto";
import {
  Kysely,
  type PostgresPool as KyselyPool,
  type PostgresCursor,
  PostgresDialect,
  type PostgresPoolClient,
  type PostgresQueryResult,
} from "kysely";
import pg from "pg";
import type { Logger } from "pino";
import { isReadTimeout } from "./sqlstate.ts";

/** Bounds of a pool; each has a default. */
export interface PoolOptions {
  readonly log: Pick<Logger, "warn">;
  /** Connections at most. Default 10: a database does most with few. */
  readonly connectionsMax?: number;
  /** Longest wait for a connection, free or new. Default 500: an overloaded store is to be told apart soon. */
  readonly connectTimeoutMs?: number;
  /** Longest wait for an answer; then the connection is given up. Default 2,000. */
  readonly queryTimeoutMs?: number;
  /** After this the server cancels a statement. Default: nine tenths of `queryTimeoutMs`, so that it speaks first. */
  readonly statementTimeoutMs?: number;
  /** An unused connection is closed after this. Default 30,000. */
  readonly idleTimeoutMs?: number;
  /** The server ends a session that leaves a transaction open for so long. Default 5,000. */
  readonly idleInTransactionTimeoutMs?: number;
  /** Shown in `pg_stat_activity`. Default `weir`. */
  readonly applicationName?: string;
}

/** Connections to one database. Disposing closes them, after the queries that are under way. */
export interface PostgresPool extends AsyncDisposable {
  /** A query builder over this pool. Its own `destroy` leaves the pool open: others may use it. */
  kysely<T>(): Kysely<T>;
}

/** Limits for a pool that runs migrations: they may rewrite tables, or wait for another process that does. */
export const migrationLimits = {
  connectionsMax: 1,
  connectTimeoutMs: 5_000,
  queryTimeoutMs: 300_000,
  idleInTransactionTimeoutMs: 300_000,
} satisfies Partial<PoolOptions>;

/**
 * Opens a pool for `url` (`postgresql://user@host/database`; a unix socket's folder as host, percent-encoded).
 * Connects on demand: an unreachable server shows at the first query.
 */
export function openPool(url: string, options: PoolOptions): PostgresPool {
  const queryTimeoutMs = options.queryTimeoutMs ?? 2_000;
  const pool = new pg.Pool({
    connectionString: url,
    max: options.connectionsMax ?? 10,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 500,
    query_timeout: queryTimeoutMs,
    statement_timeout: options.statementTimeoutMs ?? Math.ceil(queryTimeoutMs * 0.9),
    idleTimeoutMillis: options.idleTimeoutMs ?? 30_000,
    idle_in_transaction_session_timeout: options.idleInTransactionTimeoutMs ?? 5_000,
    application_name: options.applicationName ?? "weir",
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  // A connection that breaks while no query is under way, idle or inside a transaction, has nobody to tell but its
  // listeners; without one it would end the process. Its next query, if it was in use, fails.
  pool.on("connect", (client) => {
    client.on("error", (error: Error & { code?: string }) => {
      // The error of an idle connection carries its whole client; code and text are enough.
      if (!pool.ending) options.log.warn({ code: error.code, reason: error.message }, "a database connection broke");
    });
  });
  // The same news again, of idle connections.
  pool.on("error", () => {});
  return {
    kysely: <T>() => new Kysely<T>({ dialect: new PostgresDialect({ pool: sharedPool(pool) }) }),
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

/**
 * A statement that begins with this is parsed and planned once a connection. For those that run all the time and read
 * no column by `*`: plans are kept as long as their connections, some 50 KiB each.
 */
export const preparedMark = "/* prepared */";

/** Names of prepared statements by their text; only the code makes such texts. */
const preparedNames = new Map<string, string>();

function preparedName(statement: string): string {
  let name = preparedNames.get(statement);
  if (name === undefined) {
    name = `weir_${hash("sha256", statement).slice(0, 32)}`;
    preparedNames.set(statement, name);
  }
  return name;
}

function sharedPool(pool: pg.Pool): KyselyPool {
  return {
    options: pool.options,
    connect: async () => {
      const client = await pool.connect();
      return discardedAfterTimeout(client, <R>(text: string, values: readonly unknown[]) =>
        client.query<R & pg.QueryResultRow>({ name: preparedName(text), text, values: [...values] }),
      );
    },
    // The pool's owner ends it.
    end: async () => {},
  };
}

/**
 * A connection whose answer never came is closed instead of going back to the pool: on a half-open socket every later
 * query would wait behind the lost one.
 */
function discardedAfterTimeout(
  client: PostgresPoolClient,
  prepared: <R>(text: string, values: readonly unknown[]) => Promise<pg.QueryResult<R & pg.QueryResultRow>>,
): PostgresPoolClient {
  let lost = false;
  function query<R>(sql: string, parameters: ReadonlyArray<unknown>): Promise<PostgresQueryResult<R>>;
  function query<R>(cursor: PostgresCursor<R>): PostgresCursor<R>;
  function query<R>(statement: string | PostgresCursor<R>, parameters: ReadonlyArray<unknown> = []) {
    if (typeof statement !== "string") return client.query(statement);
    const sent = statement.startsWith(preparedMark)
      ? prepared<R>(statement, parameters)
      : client.query<R>(statement, parameters);
    return sent.catch((error: unknown) => {
      lost ||= isReadTimeout(error);
      throw error;
    });
  }
  return { query, release: (destroy) => client.release(destroy || lost) };
}
