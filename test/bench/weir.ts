import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFolder } from "../fakes/open-folder.ts";
import { childrenOf, programOf } from "./cpu.ts";
import { type Core, end, type Measured, printed, root, spawnOn } from "./processes.ts";

/** The whole gateway as a process of its own. */
export interface MeasuredWeir extends Measured {
  readonly adminUrl: string;
  /** The first key, which may do everything. */
  readonly key: string;
  /** The main process of its PostgreSQL. */
  readonly postgresPid: number;
}

/** What the gateway stands in front of: an engine, or what a configuration says whose `listen` is given already. */
export type WeirOptions = ({ readonly engineUrl: string } | { readonly yaml: string }) & {
  readonly nodeArgs?: readonly string[];
};

/** Starts the whole gateway. */
export async function startWeir(options: WeirOptions, core: Core): Promise<MeasuredWeir> {
  await using resources = new AsyncDisposableStack();
  const folder = await openFolder("weir-bench-");
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  const dataDir = join(folder, "data");
  const child = spawnOn(core, [
    process.execPath,
    ...(options.nodeArgs ?? []),
    join(root, "services/main.ts"),
    "--data-dir",
    dataDir,
    ...("yaml" in options
      ? ["--config", await configIn(folder, options.yaml)]
      : ["--port", "0", "--admin-port", "0", "--engine", options.engineUrl]),
  ]);
  resources.defer(() => end(child));
  const banner = await printed(child, /^((?:.*\n)*Models .*)\n/);
  const pid = child.pid ?? 0;
  const running = resources.move();
  return {
    pid,
    url: /^API +(\S+)\/v1$/m.exec(banner)?.[1] ?? "",
    adminUrl: /^Admin +(\S+)\/readyz/m.exec(banner)?.[1] ?? "",
    key: (await readFile(join(dataDir, "admin.key"), "utf8")).trim(),
    postgresPid: childrenOf(pid).find((other) => programOf(other) === "postgres") ?? 0,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function configIn(folder: string, yaml: string): Promise<string> {
  const file = join(folder, "weir.yaml");
  await writeFile(file, `listen: { port: 0, admin_port: 0 }\n${yaml}`);
  return file;
}
