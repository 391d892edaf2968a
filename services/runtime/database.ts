import type { Kysely } from "kysely";
import type { Logger } from "pino";
import { type Migrations, migrate } from "./postgres/migrate.ts";
import { migrationLimits, openPool } from "./postgres/pool.ts";

/** The process's door to PostgreSQL. */
export interface Database extends AsyncDisposable {
  /** A role's own schema, brought to its newest form. */
  schema<T>(name: string, migrations: Migrations): Promise<Kysely<T>>;
}

/** Opens the pool that all roles of a process share. */
export function openDatabase(
  url: string,
  options: { readonly connectionsMax: number; readonly log: Logger },
): Database {
  const pool = openPool(url, options);
  return {
    async schema<T>(name: string, migrations: Migrations) {
      await using migrating = openPool(url, { ...migrationLimits, log: options.log });
      await migrate(migrating.kysely<unknown>(), migrations, { schema: name });
      return pool.kysely<T>().withSchema(name);
    },
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
}
