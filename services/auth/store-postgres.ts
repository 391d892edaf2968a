import type { AuthStore } from "./store.ts";
import { credentialStore } from "./store-postgres-credentials.ts";
import { installationStore } from "./store-postgres-installation.ts";
import { keyStore } from "./store-postgres-keys.ts";
import type { AuthDatabase } from "./store-postgres-tables.ts";
import { tenantStore } from "./store-postgres-tenants.ts";

export type { AuthTables } from "./store-postgres-tables.ts";

/** The store in PostgreSQL, in a database that has the migrations of this service. */
export function postgresAuthStore(db: AuthDatabase): AuthStore {
  return {
    keys: keyStore(db),
    credentials: credentialStore(db),
    tenants: tenantStore(db),
    installation: installationStore(db),
  };
}
