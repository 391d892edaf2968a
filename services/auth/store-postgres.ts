import type { AuthStore } from "./store.ts";
import { credentialStore } from "./store-postgres-credentials.ts";
import { installationStore } from "./store-postgres-installation.ts";
import { keyStore } from "./store-postgres-keys.ts";
import type { AuthDatabase } from "./store-postgres-tables.ts";
import { tenantStore } from "./store-postgres-tenants.ts";

export type { AuthTables } from "./store-postgres-tables.ts";

/**
 * The store in PostgreSQL, in a database that has the migrations of this service.
 *
 * @param dataPath connections to the same database for what the data path asks.
 */
export function postgresAuthStore(db: AuthDatabase, dataPath: AuthDatabase): AuthStore {
  return {
    keys: keyStore(db),
    credentials: credentialStore(dataPath),
    tenants: tenantStore(db),
    installation: installationStore(db),
  };
}
