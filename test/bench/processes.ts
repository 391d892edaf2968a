import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";

/** A process under measurement or beside it. */
export interface Measured extends AsyncDisposable {
  readonly pid: number;
  /** Its first address, `http://127.0.0.1:PORT`. */
  readonly url: string;
}

/** Where a process may run: the one that is measured has a core of its own. */
export type Core = "measured" | "others";

/** The repository's root. */
export const root = resolve(import.meta.dirname, "../..");

const pins = process.platform === "linux" && availableParallelism() >= 2;

/** Runs a program on one core, where there is more than one and `taskset` to say so. */
export function spawnOn(core: Core, command: readonly string[], options: { readonly cwd?: string } = {}): ChildProcess {
  const [program = "", ...args] = pins ? ["taskset", "-c", core === "measured" ? "0" : "1", ...command] : command;
  return spawn(program, args, { ...options, stdio: ["ignore", "pipe", "ignore"] });
}

/** Pins this process, which makes the load, beside the mock. */
export async function pinSelf(): Promise<void> {
  if (pins) await once(spawn("taskset", ["-a", "-cp", "1", String(process.pid)], { stdio: "ignore" }), "exit");
}

/** A script of this folder as a process. */
export interface MeasuredScript extends Measured {
  /** Of each of its ports, in its order. */
  readonly urls: readonly string[];
}

/** Starts a script of this folder, which prints its ports as JSON. */
export async function startScript(script: string, core: Core, args: readonly string[] = []): Promise<MeasuredScript> {
  const child = spawnOn(core, [process.execPath, join(import.meta.dirname, script), ...args]);
  const { ports } = JSON.parse(await printed(child, /^(\{.*\})$/m)) as { readonly ports: readonly number[] };
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  return { pid: child.pid ?? 0, urls, url: urls[0] ?? "", [Symbol.asyncDispose]: () => end(child) };
}

/** What a process prints that a pattern's first group holds; throws with all that it printed when it ends instead. */
export function printed(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((settle, reject) => {
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const found = pattern.exec(text)?.[1];
      if (found !== undefined) settle(found);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${child.spawnargs.join(" ")} ended with ${code}: ${text}`)));
  });
}

/** A port that nobody listens on, for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

/** Waits until a process listens on a port; throws when it ends instead, or is not ready in time. */
export async function listening(child: ChildProcess, port: number): Promise<void> {
  const endMs = performance.now() + startMsMax;
  child.stdout?.resume();
  while (!(await accepts(port))) {
    const ended = child.exitCode ?? child.signalCode;
    if (ended !== null || performance.now() > endMs) {
      child.kill("SIGKILL");
      throw new Error(`${child.spawnargs.join(" ")} does not listen on ${port}; it ended with ${ended ?? "nothing"}`);
    }
    await new Promise((later) => setTimeout(later, 20));
  }
}

/** The slowest of them takes 3 s on an idle machine. */
const startMsMax = 60_000;

function accepts(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      settle(true);
    });
    socket.on("error", () => settle(false));
  });
}

/** Ends a process in order. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}
