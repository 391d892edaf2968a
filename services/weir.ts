import { pathToFileURL } from "node:url";
import type { Logger } from "pino";
import { Audience } from "../gen/ts/weir/policy/v1/policy_pb.ts";
import { roles } from "./roles.ts";
import { type Assembled, assemble } from "./runtime/assemble.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Settings } from "./runtime/config/settings.ts";
import type { Role } from "./runtime/role.ts";
import { openAdminServer } from "./runtime/server/admin.ts";
import { openMeshListener } from "./runtime/server/mesh-listener.ts";
import { type Listener, openPublicServer } from "./runtime/server/public.ts";
import { rpcHandler } from "./runtime/server/rpc.ts";

/** A process that runs and listens. */
export interface Weir extends AsyncDisposable {
  readonly assembled: Assembled;
  /** The public port; undefined for a process without an edge. */
  readonly api: Listener | undefined;
  readonly admin: Listener;
  /** Only where roles are split. */
  readonly mesh: Listener | undefined;
  /** Says that it is not ready, lets what runs end within `patienceMs`, and closes everything. */
  stop(patienceMs: number): Promise<void>;
}

export interface WeirOptions {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Builds the roles of a process, in order, and opens its listeners when all of them are there. */
export async function startWeir(options: WeirOptions): Promise<Weir> {
  await using opened = new AsyncDisposableStack();
  const assembled = opened.use(await assemble(options));
  const services = opened.use(new AsyncDisposableStack());
  for (const role of await rolesOf(options.settings)) services.use(await role.start(assembled.runtime));
  assembled.watchKeys();
  let draining = false;
  assembled.runtime.readiness("drain", () => (draining ? "the process is stopping" : undefined));
  const listeners = await openListeners(options, assembled, opened);
  const running = opened.move();
  return {
    assembled,
    ...listeners,
    async stop(patienceMs) {
      draining = true;
      await Promise.all([listeners.api?.drain(patienceMs), listeners.mesh?.drain(patienceMs)]);
      // Callers of what still runs are told why it ends, which takes their connections.
      await services.disposeAsync();
      await running.disposeAsync();
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function rolesOf(settings: Settings): Promise<readonly Role[]> {
  const own = await Promise.all(roles.filter(({ name }) => settings.roles.has(name)).map(({ load }) => load()));
  const extensions = await Promise.all(settings.extensions.map(loadExtension));
  return [...own, ...extensions];
}

/** A module of the operator's that exports a `role`. */
async function loadExtension(file: string): Promise<Role> {
  const module: unknown = await import(pathToFileURL(file).href);
  if (typeof module === "object" && module !== null && "role" in module && isRole(module.role)) return module.role;
  throw new Error(`extension ${file} exports no \`role\`: see docs/extending.md`);
}

function isRole(value: unknown): value is Role {
  return typeof value === "object" && value !== null && "start" in value && typeof value.start === "function";
}

async function openListeners(
  { settings, clock, log }: WeirOptions,
  assembled: Assembled,
  opened: AsyncDisposableStack,
): Promise<Pick<Weir, "api" | "admin" | "mesh">> {
  const { host, port, adminPort, meshPort } = settings.listen;
  const split = roles.some(({ name }) => !settings.roles.has(name));
  const mesh = split
    ? opened.use(await openMeshListener({ host, port: meshPort, clock, rpc: rpcHandler(assembled, Audience.MESH) }))
    : undefined;
  const admin = opened.use(
    await openAdminServer({
      host,
      port: adminPort,
      log,
      metrics: () => assembled.runtime.metrics.text(),
      notReady: () => assembled.notReady(),
      rpc: rpcHandler(assembled, Audience.ADMIN),
    }),
  );
  const api = opened.use(
    await openPublicServer({
      host,
      port,
      http: settings.http,
      clock,
      apps: assembled.apps,
      rpc: rpcHandler(assembled, Audience.PUBLIC),
      onRefused: (why) => log.debug({ why }, "a connection was refused"),
    }),
  );
  return { api, admin, mesh };
}
