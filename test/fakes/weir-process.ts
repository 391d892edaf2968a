import { type ChildProcess, spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { openFolder } from "./open-folder.ts";

/** The gateway as a process of its own, started as a user does. */
export interface WeirProcess extends AsyncDisposable {
  /** http://127.0.0.1:PORT, without /v1. */
  readonly url: string;
  readonly adminUrl: string;
  /** Where other processes of the installation reach it; empty where all roles run in one. */
  readonly meshUrl: string;
  /** The first admin key; empty for a process without the auth role. */
  readonly key: string;
  readonly dataDir: string;
  readonly pid: number;
  /** What it printed before it was ready. */
  readonly banner: string;
  readonly readyMs: number;
  /** Everything it wrote to standard error: its log, a JSON object a line. */
  log(): string;
  kill(signal: NodeJS.Signals): void;
  /** Its exit code, or the signal that ended it. */
  readonly exited: Promise<number | string>;
}

export interface WeirProcessOptions {
  /** Flags beside ports and data folder. */
  readonly args?: readonly string[];
  /** Kept between starts; a temporary one that goes with the process if there is none. */
  readonly dataDir?: string;
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The folder of the repository, if another one than this. */
  readonly repository?: string;
  /** A command that runs the one that follows it, in its own place. */
  readonly wrapper?: readonly string[];
}

const root = resolve(import.meta.dirname, "../..");
const startMsMax = 60_000;

/** Starts `services/main.ts` on free ports and waits until it says that it is ready. */
export async function startWeirProcess(options: WeirProcessOptions = {}): Promise<WeirProcess> {
  const folder = options.dataDir ?? join(await openFolder("weir-e2e-"), "data");
  const ports = (options.args ?? []).includes("--config") ? [] : ["--port", "0", "--admin-port", "0"];
  const args = [
    ...(options.nodeArgs ?? []),
    join(options.repository ?? root, "services/main.ts"),
    ...ports,
    "--data-dir",
    folder,
    ...(options.args ?? []),
  ];
  const started = performance.now();
  const [command = process.execPath, ...rest] = [...(options.wrapper ?? []), process.execPath, ...args];
  const child = spawn(command, rest, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const exited = new Promise<number | string>((settle) =>
    child.once("exit", (code, signal) => settle(code ?? signal ?? "unknown")),
  );
  const banner = await readBanner(child, exited, () => errors);
  const url = /^API +(\S+)\/v1$/m.exec(banner)?.[1] ?? "";
  const adminUrl = /^Admin +(\S+)\/readyz/m.exec(banner)?.[1] ?? "";
  // A process without the auth role has no key of its own.
  const key = await readFile(join(folder, "admin.key"), "utf8").then(
    (text) => text.trim(),
    () => "",
  );
  return {
    url,
    adminUrl,
    key,
    dataDir: folder,
    pid: child.pid ?? 0,
    banner,
    readyMs: performance.now() - started,
    log: () => errors,
    meshUrl: /^Mesh +(\S+)/m.exec(banner)?.[1] ?? "",
    kill: (signal) => void child.kill(signal),
    exited,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await exited;
      if (options.dataDir === undefined) await rm(resolve(folder, ".."), { recursive: true, force: true });
    },
  };
}

function readBanner(child: ChildProcess, exited: Promise<number | string>, errors: () => string): Promise<string> {
  return new Promise((settle, reject) => {
    let text = "";
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`not ready after ${startMsMax} ms\n${text}\n${errors()}`));
    }, startMsMax);
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      // The lines are written at once.
      if (!/^Admin .*\n/m.test(text)) return;
      clearTimeout(timer);
      settle(text);
    });
    void exited.then((how) => {
      clearTimeout(timer);
      reject(new Error(`ended with ${how} before it was ready\n${text}\n${errors()}`));
    });
  });
}
