import { randomBytes } from "node:crypto";
import { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { TenantService } from "../../gen/ts/weir/auth/v1/tenant_service_pb.ts";
import { readOrCreateSecret } from "../runtime/durable-file.ts";
import type { Role, Runtime } from "../runtime/role.ts";
import { adminLanes } from "./admin-lanes.ts";
import { bootstrap } from "./bootstrap.ts";
import { migrations } from "./migrations/migrations.ts";
import { type Peppers, pepperProblem, peppersFrom } from "./pepper.ts";
import { knownPermissions } from "./permissions.ts";
import { authService } from "./service-auth.ts";
import { keyService } from "./service-keys.ts";
import { tenantService } from "./service-tenants.ts";
import type { InstallationStore } from "./store.ts";
import { type AuthTables, postgresAuthStore } from "./store-postgres.ts";

/**
 * What the data path asks has connections of its own: it is a few quick statements, which wait for no tenant's
 * administration and no other role.
 */
const dataPathLimits = { connectionsMax: 3, queryTimeoutMs: 2_000, applicationName: "weir keys" };

/** Organisations, projects and keys, and who a key is. The only role that reads the pepper. */
export const role: Role = {
  name: "auth",
  async start(runtime) {
    const { settings, services, clock, log } = runtime;
    const database = await runtime.database<AuthTables>("auth", migrations);
    const store = postgresAuthStore(database, runtime.databaseAside(dataPathLimits));
    const peppers = await readPeppers(settings.auth.pepperFile, store.installation);
    const admin = await bootstrap({ store: store.installation, peppers, dataDir: settings.dataDir, randomBytes, log });
    runtime.announceAdminKey(admin.file, admin.made);
    services.add(AuthService, authService({ store: store.credentials, peppers, clock, log }));
    const inLanes = adminLanes();
    const keys = keyService({ store: store.keys, peppers, randomBytes, permissions: permissionsOf(runtime) });
    services.add(KeyService, inLanes(KeyService, keys));
    services.add(TenantService, inLanes(TenantService, tenantService(store.tenants)));
    // Whatever it holds belongs to the process: the pool, and the services that end with the listeners.
    return { async [Symbol.asyncDispose]() {} };
  },
};

/** Read at each use: extensions may register their services later. */
function permissionsOf({ services }: Runtime): () => ReadonlySet<string> {
  return () => knownPermissions(services.services().map(({ service }) => service));
}

async function readPeppers(file: string, store: InstallationStore): Promise<Peppers> {
  const peppers = peppersFrom(await readOrCreateSecret(file));
  const problem = pepperProblem(peppers, await store.keepPeppers(peppers.fingerprints));
  if (problem !== undefined) {
    throw new Error(`${problem} (${file}). Restore the file: without it no key of this database can be checked`);
  }
  return peppers;
}
