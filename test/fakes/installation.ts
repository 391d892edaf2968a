import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CutProxy, startCutProxy } from "./cut-proxy.ts";
import { openFolder } from "./open-folder.ts";
import { createTestDatabase } from "./postgres.ts";
import { startWeirProcess, type WeirProcess } from "./weir-process.ts";

/** How the roles of an installation are spread. */
export const shapes = ["one process", "two processes"] as const;
export type Shape = (typeof shapes)[number];

/** A whole installation: the data plane, and the control plane in the same process or in another. */
export interface Installation extends AsyncDisposable {
  /** What answers callers. */
  readonly gateway: WeirProcess;
  /** What knows keys, limits and usage: the gateway itself where all roles run in one process. */
  readonly control: WeirProcess;
  /** The first admin key. */
  readonly key: string;
  /** Between two processes; what goes through it in an installation of one is nothing. */
  readonly mesh: CutProxy;
  /** Starts the gateway again, on the folder of the former one, which has ended. */
  restartGateway(): Promise<void>;
  /** The same for the control plane. Its addresses are new, and the mesh leads there. */
  restartControl(): Promise<void>;
  /** One more gateway beside the first, of an installation of two processes. */
  addGateway(): Promise<WeirProcess>;
}

export interface InstallationOptions {
  /** Models, pools and what else the catalogue's configuration says, in YAML. */
  readonly yaml: string;
}

const ports = "listen: { port: 0, admin_port: 0, mesh_port: 0 }";
const controlRoles = ["catalog", "auth", "quota", "usage"];

/** Starts an installation in one of its shapes. */
export async function startInstallation(shape: Shape, options: InstallationOptions): Promise<Installation> {
  await using started = new AsyncDisposableStack();
  const folder = await openFolder("weir-installation-");
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const mesh = started.use(await startCutProxy());
  const database = shape === "one process" ? undefined : started.use(await createTestDatabase());
  // Gateways may be added to it when all of this is in the caller's hands.
  const processes = started.use(new AsyncDisposableStack());

  /** One process, over its lives in the same folder. */
  const life = async (name: string, yaml: string, up?: (weir: WeirProcess) => void): Promise<Life> => {
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, `${ports}\n${yaml}\n`);
    const begin = async () => {
      const weir = await startWeirProcess({ args: ["--config", file], dataDir: join(folder, name) });
      up?.(weir);
      return weir;
    };
    const one = {
      now: await begin(),
      async restart() {
        one.now = await begin();
      },
    };
    processes.defer(() => one.now[Symbol.asyncDispose]());
    return one;
  };

  let control: Life;
  let data: Life;
  let addGateway = (): Promise<WeirProcess> => Promise.reject(new Error("it is an installation of one process"));
  if (database === undefined) {
    control = data = await life("all", options.yaml);
  } else {
    const token = "token_file: mesh.token";
    const stored = `postgres: { url: "${database.url}" }`;
    const lead = ({ meshUrl }: WeirProcess) => {
      mesh.target = { host: "127.0.0.1", port: Number(new URL(meshUrl).port) };
    };
    const roles = `roles: [${controlRoles.join()}]\nmesh: { ${token} }`;
    control = await life("control", `${roles}\n${stored}\n${options.yaml}`, lead);
    const peers = controlRoles.map((role) => `${role}: "http://127.0.0.1:${mesh.port}"`);
    const gateway = `roles: [edge, router]\nmesh: { ${token}, peers: { ${peers.join(", ")} } }`;
    data = await life("data", gateway);
    let added = 0;
    addGateway = async () => (await life(`data-${++added}`, gateway)).now;
  }
  const running = started.move();
  return {
    get gateway() {
      return data.now;
    },
    get control() {
      return control.now;
    },
    get key() {
      return control.now.key;
    },
    mesh,
    restartGateway: () => data.restart(),
    restartControl: () => control.restart(),
    addGateway: () => addGateway(),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

interface Life {
  readonly now: WeirProcess;
  restart(): Promise<void>;
}
