import { type ChildProcess, spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { openFolder } from "../fakes/open-folder.ts";

/** A process under measurement or beside it. */
export interface Measured extends AsyncDisposable {
  readonly pid: number;
  readonly url: string;
}

/** Where a process may run: the one that is measured has a core of its own. */
export type Core = "measured" | "others";

const here = import.meta.dirname;
const root = resolve(here, "../..");

/** Runs Node on one core, where there is more than one and `taskset` to say so. */
function onCore(core: Core, args: readonly string[]): readonly [string, readonly string[]] {
  if (process.platform !== "linux" || availableParallelism() < 2) return [process.execPath, args];
  return ["taskset", ["-c", core === "measured" ? "0" : "1", process.execPath, ...args]];
}

/** Pins this process, which makes the load, beside the mock. */
export function pinSelf(): void {
  if (process.platform === "linux" && availableParallelism() >= 2)
    spawn("taskset", ["-a", "-cp", "1", String(process.pid)], { stdio: "ignore" });
}

/** Starts a script of this folder, which prints its port as JSON. */
export async function startScript(script: string, core: Core, args: readonly string[] = []): Promise<Measured> {
  const [command, all] = onCore(core, [join(here, script), ...args]);
  const child = spawn(command, all, { stdio: ["ignore", "pipe", "inherit"] });
  const line = await firstMatch(child, /^(\{.*\})$/m);
  const { port } = JSON.parse(line);
  return { pid: child.pid ?? 0, url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => ended(child) };
}

/** Weir as a process of its own, with the key that it made. */
export interface MeasuredWeir extends Measured {
  readonly key: string;
}

/** Starts the whole gateway in front of an engine. */
export async function startWeir(engineUrl: string, core: Core): Promise<MeasuredWeir> {
  const folder = await openFolder("weir-bench-");
  const flags = ["--port", "0", "--admin-port", "0", "--data-dir", join(folder, "data"), "--engine", engineUrl];
  const [command, all] = onCore(core, [join(root, "services/main.ts"), ...flags]);
  const child = spawn(command, all, { stdio: ["ignore", "pipe", "ignore"] });
  const url = await firstMatch(child, /^API +(\S+)\/v1\n(?:.*\n)*Models /m);
  const key = (await readFile(join(folder, "data", "admin.key"), "utf8")).trim();
  return {
    pid: child.pid ?? 0,
    url,
    key,
    async [Symbol.asyncDispose]() {
      await ended(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function firstMatch(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((settle, reject) => {
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const found = pattern.exec(text)?.[1];
      if (found !== undefined) settle(found);
    });
    child.once("exit", (code) => reject(new Error(`${child.spawnargs.join(" ")} ended with ${code}: ${text}`)));
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((settle) => child.once("exit", settle));
  child.kill("SIGTERM");
  await gone;
}

/** Linux counts CPU time in hundredths of a second. */
const tickUs = 10_000;

/** CPU time of a process so far, user and system, in microseconds. */
export async function cpuUs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * tickUs;
}

/** Resident memory of a process, in bytes. */
export async function rssBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1_024;
}
