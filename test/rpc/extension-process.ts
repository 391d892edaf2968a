import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { pino } from "pino";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import type { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { TenantService } from "../../gen/ts/weir/auth/v1/tenant_service_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { loadSettings } from "../../services/runtime/config/load.ts";
import { startWeir, type Weir } from "../../services/weir.ts";
import { createTestDatabase } from "../fakes/postgres.ts";

/** A process with extensions, configured by a file as an operator does it, and callers of its public port. */
export interface ExtensionProcess extends AsyncDisposable {
  readonly weir: Weir;
  /** Base URL of the public port. */
  readonly url: string;
  readonly adminUrl: string;
  readonly adminKey: string;
  /** Makes a project of an organisation, which is made if it is not there. */
  makeProject(project: { readonly id: string; readonly orgId: string }): Promise<void>;
  makeKey(key: {
    readonly projectId: string;
    readonly permissions: readonly string[];
    readonly reach?: Reach;
  }): Promise<{ readonly id: string; readonly key: string }>;
  revokeKey(key: { readonly projectId: string; readonly id: string }): Promise<void>;
}

const root = resolve(import.meta.dirname, "../..");

/** Starts auth, catalog and the extensions, which are named by their paths from the repository's root. */
export async function startExtensionProcess(extensions: readonly string[]): Promise<ExtensionProcess> {
  await using resources = new AsyncDisposableStack();
  const database = resources.use(await createTestDatabase());
  const folder = await mkdtemp(join(tmpdir(), "weir-extension-"));
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  const config = join(folder, "weir.yaml");
  await writeFile(config, configuration(extensions, database.url));
  const { settings } = loadSettings({ ...noFlags, config });
  const weir = resources.use(await startWeir({ settings, clock: systemClock, log: pino({ level: "silent" }) }));
  const adminKey = (await readFile(join(folder, "data/admin.key"), "utf8")).trim();
  const url = `http://127.0.0.1:${weir.api?.port}`;
  const admin = connectTo(url, adminKey);
  const tenants = createClient(TenantService, admin);
  const keys = createClient(KeyService, admin);
  const orgs = new Set<string>();
  let made = 0;
  const running = resources.move();
  return {
    weir,
    url,
    adminUrl: `http://127.0.0.1:${weir.admin.port}`,
    adminKey,
    async makeProject({ id, orgId }) {
      if (!orgs.has(orgId)) await tenants.createOrg({ requestId: orgId, orgId, name: orgId });
      orgs.add(orgId);
      await tenants.createProject({ requestId: id, projectId: id, orgId, name: id });
    },
    async makeKey({ projectId, permissions, reach }) {
      made += 1;
      const request = { requestId: `key-${made}`, projectId, name: "a key", permissions: [...permissions] };
      const { key, secret } = await keys.createKey(reach ? { ...request, reach } : request);
      return { id: key?.id ?? "", key: secret };
    },
    async revokeKey({ projectId, id }) {
      await keys.revokeKey({ projectId, keyId: id });
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Calls by Connect over HTTP/1.1, with a key if there is one. */
export function connectTo(baseUrl: string, key?: string): Transport {
  return createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: key ? [bearer(key)] : [] });
}

/** Calls by gRPC, with a key if there is one. */
export function grpcTo(baseUrl: string, key?: string): Transport {
  return createGrpcTransport({ baseUrl, interceptors: key ? [bearer(key)] : [] });
}

function bearer(key: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${key}`);
    return next(request);
  };
}

const noFlags = {
  command: "start",
  port: undefined,
  adminPort: undefined,
  dataDir: undefined,
  engines: [],
  chatTemplate: undefined,
  tokenizer: undefined,
  toolParser: 0,
  reasoningParser: 0,
  engineModel: "",
  engineKeyFile: undefined,
  engineKeyHeader: undefined,
} as const;

/** No engine is called: the pool names an address where nobody listens. */
function configuration(extensions: readonly string[], postgresUrl: string): string {
  return `
roles: [auth, catalog]
listen: { port: 0, admin_port: 0, mesh_port: 0 }
postgres: { url: "${postgresUrl}" }
pools: [{ id: none, replicas: [{ id: none-0, url: "http://127.0.0.1:1" }] }]
extensions: [${extensions.map((path) => JSON.stringify(join(root, path))).join(", ")}]
`;
}
