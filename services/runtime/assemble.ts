import { hkdfSync } from "node:crypto";
import { join } from "node:path";
import type { Logger } from "pino";
import { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { Clock } from "./clock.ts";
import type { RoleName, Settings } from "./config/settings.ts";
import { type DataDir, openDataDir } from "./data-dir.ts";
import { type Database, openDatabase } from "./database.ts";
import { readOrCreateSecret } from "./durable-file.ts";
import { createIdentity, type Identity } from "./identity/identity.ts";
import { createProjectOwners, type ProjectOwners } from "./identity/project-owners.ts";
import { systemIds } from "./ids.ts";
import { createGate, type Gate } from "./mesh/gate.ts";
import { createMesh } from "./mesh/mesh.ts";
import { createRegistry, type Registry } from "./mesh/registry.ts";
import { startEmbeddedPostgres } from "./postgres/embedded.ts";
import type { Runtime } from "./role.ts";
import type { HttpApp } from "./server/app.ts";
import { createClientAddress } from "./server/client-address.ts";
import { createMetrics } from "./telemetry/metrics.ts";

/** A process that is built and does not listen yet. */
export interface Assembled extends AsyncDisposable {
  readonly runtime: Runtime;
  readonly registry: Registry;
  readonly gate: Gate;
  readonly apps: readonly HttpApp[];
  readonly meshToken: string;
  /** Begins to know callers: once, when the roles of this process are there, of which one may be asked. */
  watchKeys(): void;
  /** What is not ready, by name. */
  notReady(): Readonly<Record<string, string>>;
  /** The file of the first admin key, and the key if this start made it. */
  readonly adminKey: { readonly file: string; readonly key: string | undefined } | undefined;
}

/** Somebody else holds the data folder, or it cannot be used: the message says what to do. */
export class DataDirError extends Error {}

export interface AssembleOptions {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Builds what a process gives to its roles. Everything that was opened is closed in reverse. */
export async function assemble({ settings, clock, log }: AssembleOptions): Promise<Assembled> {
  await using opened = new AsyncDisposableStack();
  const dataDir = opened.use(await claimDataDir(settings.dataDir));
  const database = opened.use(await openStores(settings, dataDir, clock, log, opened));
  const meshToken = await readOrCreateSecret(settings.mesh.tokenFile);
  const nodeId = settings.nodeId ?? (await readOrCreateSecret(join(settings.dataDir, "node.id"), newNodeId));
  const metrics = createMetrics();
  const registry = createRegistry();
  const checks = new Map<string, () => string | undefined>();
  const apps: HttpApp[] = [];
  let adminKey: Assembled["adminKey"];

  // The gate asks the identity, the identity calls the auth service, and calls go through the gate.
  const known: { identity?: Identity; owners?: ProjectOwners } = {};
  const identity: Identity = {
    authenticate: (...args) => named(known.identity).authenticate(...args),
    onRevoked: (...args) => named(known.identity).onRevoked(...args),
  };
  const owners: ProjectOwners = { orgOf: (projectId) => named(known.owners).orgOf(projectId) };
  const gate = createGate({ clock, log, metrics, identity, owners });
  const mesh = opened.use(createMesh({ registry, gate, clock, peers: settings.mesh.peers, token: meshToken }));
  known.owners = createProjectOwners(mesh.client(AuthService));
  const { staleMaxMs } = settings.auth;
  const { badKeysPerMinuteMax } = settings.http;

  const runtime: Runtime = {
    settings,
    nodeId,
    clock,
    log,
    metrics,
    mesh,
    services: registry,
    http: { add: (app) => void apps.push(app), clientAddress: createClientAddress(settings.http.trustedProxies) },
    identity,
    database: (schema, migrations) => named(database).schema(schema, migrations),
    databaseAside: (limits) => named(database).aside(limits),
    derivedSecret: (purpose) => new Uint8Array(hkdfSync("sha256", meshToken, "weir", purpose, 32)),
    readiness: (name, check) => void checks.set(name, check),
    announceAdminKey: (file, key) => {
      adminKey = { file, key };
    },
  };
  const running = opened.move();
  return {
    runtime,
    registry,
    gate,
    apps,
    meshToken,
    watchKeys() {
      known.identity = running.use(
        createIdentity({ auth: mesh.client(AuthService), clock, log, staleMaxMs, badKeysPerMinuteMax }),
      );
    },
    notReady() {
      const waiting = [...checks].flatMap(([name, check]) => {
        const why = check();
        return why === undefined ? [] : [[name, why] as const];
      });
      return Object.fromEntries(waiting);
    },
    get adminKey() {
      return adminKey;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function newNodeId(): string {
  return `node-${systemIds.short(10)}`;
}

function named<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("asked for before it was opened, or not part of this process's roles");
  return value;
}

async function claimDataDir(path: string): Promise<DataDir> {
  const claimed = await openDataDir(path);
  if (claimed.kind === "opened") return claimed;
  throw new DataDirError(claimed.message);
}

/** The database that the settings name, or one of our own; none for a process without a role that stores. */
async function openStores(
  settings: Settings,
  dataDir: DataDir,
  clock: Clock,
  log: Logger,
  opened: AsyncDisposableStack,
): Promise<Database | undefined> {
  const storing: readonly RoleName[] = ["auth", "quota", "usage"];
  if (!storing.some((role) => settings.roles.has(role))) return undefined;
  const { url, connectionsMax } = settings.postgres;
  if (url !== undefined) return openDatabase(url, { connectionsMax, log });
  const own = opened.use(await startEmbeddedPostgres({ dataDir, clock, log }));
  return openDatabase(own.url, { connectionsMax, log });
}
