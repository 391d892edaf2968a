import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Entry } from "../../services/simulator/record.ts";

/** A simulator in a process of its own. Disposing ends it, in whatever state it is, and removes its record. */
export interface SimulatorProcess extends AsyncDisposable {
  readonly httpUrl: string;
  readonly grpcUrl: string;
  readonly tgisUrl: string;
  readonly vllmUrl: string;
  readonly tgiUrl: string;
  readonly anthropicUrl: string;
  readonly pid: number;
  /** The file of its record, a line of JSON an entry, for those who follow it. */
  readonly recordPath: string;
  /** What it has recorded so far; also after its end, however that came. */
  record(): readonly Entry[];
  /** Sends a signal and, if it is one that ends a process, waits for the end. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends it in order; resolves with its exit code. */
  stop(): Promise<number | null>;
}

const main = resolve(import.meta.dirname, "../../services/simulator/main.ts");

type Urls = Pick<SimulatorProcess, "httpUrl" | "grpcUrl" | "tgisUrl" | "vllmUrl" | "tgiUrl" | "anthropicUrl">;

/** Starts one with flags of services/simulator/main.ts; `--record` is given already. */
export async function startSimulatorProcess(flags: readonly string[] = []): Promise<SimulatorProcess> {
  const folder = mkdtempSync(join(tmpdir(), "weir-simulator-"));
  const recordPath = join(folder, "record.jsonl");
  const child = spawn(process.execPath, [main, "--record", recordPath, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const { httpUrl, grpcUrl, tgisUrl, vllmUrl, tgiUrl, anthropicUrl } = await firstLine(child, ended);
  const stop = async () => {
    if (isRunning(child)) child.kill("SIGTERM");
    await ended;
    return child.exitCode;
  };
  return {
    httpUrl,
    grpcUrl,
    tgisUrl,
    vllmUrl,
    tgiUrl,
    anthropicUrl,
    pid: child.pid ?? 0,
    recordPath,
    record: () => readRecord(recordPath),
    async kill(signal) {
      child.kill(signal);
      if (signal !== "SIGSTOP" && signal !== "SIGCONT") await ended;
    },
    stop,
    async [Symbol.asyncDispose]() {
      // One that was stopped or hangs must not outlive its test.
      if (isRunning(child)) child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function firstLine(child: ChildProcess, ended: Promise<unknown>): Promise<Urls> {
  if (!child.stdout) throw new Error("the simulator has no output");
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([
    once(lines, "line").then(([text]) => String(text)),
    ended.then(() => {
      throw new Error(`the simulator ended before it was ready, with code ${child.exitCode}`);
    }),
  ]);
  return JSON.parse(line);
}

/** Reads a record; a line that a kill cut short is left out. */
function readRecord(path: string): Entry[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.slice(0, -1).map((line): Entry => JSON.parse(line));
}
