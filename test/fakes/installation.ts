import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
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
  /** Starts the gateway again, on the folder of the former one, which has ended. */
  restartGateway(): Promise<void>;
}

export interface InstallationOptions {
  /** Models, pools and what else the catalogue's configuration says, in YAML. */
  readonly yaml: string;
  /** Where calls from the data plane to the control plane go instead: a proxy, say. */
  readonly via?: (meshUrl: string) => Promise<string>;
}

const ports = "listen: { port: 0, admin_port: 0, mesh_port: 0 }";
const controlRoles = ["catalog", "auth", "quota", "usage"];

/** Starts an installation in one of its shapes. */
export async function startInstallation(shape: Shape, options: InstallationOptions): Promise<Installation> {
  await using started = new AsyncDisposableStack();
  const folder = await openFolder("weir-installation-");
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const start = async (name: string, yaml: string) => {
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, `${ports}\n${yaml}\n`);
    return () => startWeirProcess({ args: ["--config", file], dataDir: join(folder, name) });
  };
  if (shape === "one process") {
    const begin = await start("all", options.yaml);
    const only: Held = { process: await begin() };
    started.defer(() => only.process[Symbol.asyncDispose]());
    return installation(only, only, begin, started.move());
  }
  const database = started.use(await createTestDatabase());
  const token = "token_file: mesh.token";
  const stored = `postgres: { url: "${database.url}" }`;
  const control: Held = {
    process: await (
      await start("control", `roles: [${controlRoles.join()}]\nmesh: { ${token} }\n${stored}\n${options.yaml}`)
    )(),
  };
  started.defer(() => control.process[Symbol.asyncDispose]());
  const { meshUrl } = control.process;
  const peerUrl = (await options.via?.(meshUrl)) ?? meshUrl;
  const peers = controlRoles.map((role) => `${role}: "${peerUrl}"`);
  const begin = await start("data", `roles: [edge, router]\nmesh: { ${token}, peers: { ${peers.join(", ")} } }`);
  const data: Held = { process: await begin() };
  started.defer(() => data.process[Symbol.asyncDispose]());
  return installation(data, control, begin, started.move());
}

interface Held {
  process: WeirProcess;
}

function installation(
  data: Held,
  control: Held,
  begin: () => Promise<WeirProcess>,
  started: AsyncDisposableStack,
): Installation {
  return {
    get gateway() {
      return data.process;
    },
    get control() {
      return control.process;
    },
    get key() {
      return control.process.key;
    },
    async restartGateway() {
      data.process = await begin();
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
