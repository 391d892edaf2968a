import type { Kysely } from "kysely";
import type { Logger } from "pino";
import { type Migrations, migrate } from "./postgres/migrate.ts";
import { migrationLimits, openPool, type PoolOptions } from "./postgres/pool.ts";

/** The process's door to PostgreSQL. */
export interface Database extends AsyncDisposable {
  /** A role's own schema, brought to its newest form. */
  schema<T>(name: string, migrations: Migrations): Promise<Kysely<T>>;
  /** Connections of their own, for queries that take long: those of others do not wait for them. */
  aside<T>(limits: PoolLimits): Kysely<T>;
}

/** Bounds of connections of their own; see {@link PoolOptions}. */
export type PoolLimits = Pick<Required<PoolOptions>, "connectionsMax" | "queryTimeoutMs" | "applicationName">;

/** Opens the pool that all roles of a process share. */
export function openDatabase(
  url: string,
  options: { readonly connectionsMax: number; readonly log: Logger },
): Database {
  const pool = openPool(url, options);
  const pools = new AsyncDisposableStack();
  pools.use(pool);
  return {
    async schema<T>(name: string, migrations: Migrations) {
      await using migrating = openPool(url, { ...migrationLimits, log: options.log });
      await migrate(migrating.kysely<unknown>(), migrations, { schema: name });
      return pool.kysely<T>().withSchema(name);
    },
    aside: <T>(limits: PoolLimits) => pools.use(openPool(url, { ...limits, log: options.log })).kysely<T>(),
    [Symbol.asyncDispose]: () => pools.disposeAsync(),
  };
}
