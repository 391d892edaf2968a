import { randomBytes } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { pino } from "pino";
import { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { type Principal, PrincipalSchema, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { TenantService } from "../../gen/ts/weir/auth/v1/tenant_service_pb.ts";
import { ErrorReasonSchema } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { migrations } from "../../services/auth/migrations/migrations.ts";
import { type Peppers, peppersFrom } from "../../services/auth/pepper.ts";
import { knownPermissions } from "../../services/auth/permissions.ts";
import { authService } from "../../services/auth/service-auth.ts";
import { keyService } from "../../services/auth/service-keys.ts";
import { tenantService } from "../../services/auth/service-tenants.ts";
import type { AuthStore } from "../../services/auth/store.ts";
import { type AuthTables, postgresAuthStore } from "../../services/auth/store-postgres.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import type { Identity } from "../../services/runtime/identity/identity.ts";
import { createGate } from "../../services/runtime/mesh/gate.ts";
import { createMesh } from "../../services/runtime/mesh/mesh.ts";
import { createRegistry, type Registry } from "../../services/runtime/mesh/registry.ts";
import type { Mesh } from "../../services/runtime/role.ts";
import { createMetrics, type Metrics } from "../../services/runtime/telemetry/metrics.ts";
import { createTestDatabase, type TestDatabase, type TestDatabaseOptions } from "../fakes/postgres.ts";
import { ownersFrom } from "../fakes/project-owners.ts";

/** The auth services over a database of their own, behind the gate, as a process of the installation reaches them. */
export interface AuthHarness extends AsyncDisposable {
  readonly store: AuthStore;
  readonly peppers: Peppers;
  readonly mesh: Mesh;
  readonly auth: Client<typeof AuthService>;
  readonly keys: Client<typeof KeyService>;
  readonly tenants: Client<typeof TenantService>;
  /** Where other services join. */
  readonly registry: Registry;
  readonly database: TestDatabase;
  readonly metrics: Metrics;
  /** Keeps the key of a caller who is to write keys. That of an administrator is there. */
  keep(caller: Principal): Promise<void>;
}

const log = pino({ level: "silent" });
const nobody: Identity = { authenticate: () => principal(), onRevoked: () => () => {} };

/**
 * Starts it, with organisations acme and umbrella that have the projects one and two each.
 *
 * @param others migrations of other services' schemas.
 */
export async function startAuth(others: TestDatabaseOptions["migrations"] = {}): Promise<AuthHarness> {
  const database = await createTestDatabase({ migrations: { auth: migrations, ...others } });
  const store = postgresAuthStore(database.kysely<AuthTables>(), database.kysely<AuthTables>());
  const peppers = peppersFrom(randomBytes(32).toString("base64url"));
  await store.installation.keepPeppers(peppers.fingerprints);
  const registry = createRegistry();
  const clock = systemClock;
  const metrics = createMetrics();
  const gate = createGate({
    clock,
    log,
    metrics,
    identity: nobody,
    owners: ownersFrom(store.tenants),
  });
  const mesh = createMesh({ registry, gate, clock, peers: {}, token: "" });
  registry.add(AuthService, authService({ store: store.credentials, peppers, clock, log }));
  const permissions = () => knownPermissions([]);
  registry.add(KeyService, keyService({ store: store.keys, peppers, randomBytes, permissions }));
  registry.add(TenantService, tenantService(store.tenants));
  const tenants = mesh.client(TenantService);
  for (const orgId of ["acme", "umbrella"]) {
    await store.tenants.createOrg({ id: orgId, name: orgId, request: { id: orgId, fingerprint: "" } });
    for (const name of ["one", "two"]) {
      const id = `${orgId}-${name}`;
      await store.tenants.createProject({ id, orgId, name, request: { id, fingerprint: "" } });
    }
  }
  const keep = async ({
    keyId,
    orgId,
    projectId,
    reach,
    permissions,
    models,
    expireTime,
  }: Principal): Promise<void> => {
    const key = {
      id: keyId,
      name: keyId,
      reach,
      permissions,
      models: { all: models?.all ?? false, names: models?.names ?? [] },
      startMs: undefined,
      expireMs: expireTime && timestampMs(expireTime),
      labels: {},
      creatorKeyId: "",
      request: { id: `weir:${keyId}`, fingerprint: "" },
      ...peppers.proofOf(keyId),
    };
    await store.keys.create({ orgId, projectId }, key, { perProject: 100, perOrg: 100 }, () => {});
  };
  await keep(principal());
  return {
    store,
    peppers,
    keep,
    mesh,
    tenants,
    auth: mesh.client(AuthService),
    keys: mesh.client(KeyService),
    registry,
    database,
    metrics,
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

type PrincipalInit = Exclude<MessageInitShape<typeof PrincipalSchema>, Principal>;

/** An administrator of the installation whose own project is acme-one, or less. */
export function principal(over: PrincipalInit = {}): Principal {
  const whole: PrincipalInit = {
    keyId: "caller",
    orgId: "acme",
    projectId: "acme-one",
    reach: Reach.INSTALLATION,
    permissions: ["*"],
    models: { all: true },
  };
  return create(PrincipalSchema, { ...whole, ...over });
}

/** Why a call failed; "none" if it did not. */
export async function told(
  work: Promise<unknown>,
): Promise<{ reason: string; facts: Readonly<Record<string, string>> }> {
  try {
    await work;
  } catch (error) {
    if (error instanceof WeirError)
      return { reason: ErrorReasonSchema.value[error.reason]?.localName ?? "?", facts: error.facts };
    throw error;
  }
  return { reason: "none", facts: {} };
}
