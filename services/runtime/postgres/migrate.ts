import type { Kysely } from "kysely";
import { type Migration, Migrator } from "kysely/migration";

/** A service's migrations by name; they run in the order of their names, so those start with a number. */
export type Migrations = Readonly<Record<string, Migration>>;

/**
 * Brings the PostgreSQL schema `schema`, which is made when missing, to the newest of `migrations`: all of them or,
 * when one fails, none. The schema keeps its own record of what was applied. Processes that start together wait for
 * one another under an advisory lock, so `db` needs {@link migrationLimits} rather than a service's short timeouts.
 *
 * @throws what the failed migration threw, or why the recorded ones do not match `migrations`.
 */
export async function migrate<T>(
  db: Kysely<T>,
  migrations: Migrations,
  options: { readonly schema: string },
): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => ({ ...migrations }) },
    migrationTableSchema: options.schema,
    migrationTableName: "migration",
    migrationLockTableName: "migration_lock",
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) {
    throw new Error(`could not migrate the database schema ${options.schema}`, { cause: error });
  }
}
