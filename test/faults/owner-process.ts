import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A line that `postgres-owner.ts` prints. */
export interface OwnerReport {
  readonly ready?: { readonly url: string; readonly folder: string; readonly pid: number };
  readonly refused?: string;
  readonly failed?: string;
  readonly log?: string;
}

/** A process that owns a data folder and runs PostgreSQL on it. */
export interface Owner {
  readonly process: ChildProcess;
  readonly reports: readonly OwnerReport[];
  /** The first report that is no log line; rejects when the process ends without one. */
  readonly outcome: Promise<OwnerReport>;
  /** Resolves when a report of this log message was seen. */
  logged(message: string): Promise<void>;
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export interface OwnerOptions {
  readonly dataDir: string;
  readonly sharedRoot: string;
  /** The repository, or a copy of it. */
  readonly root?: string;
  readonly user?: { readonly uid: number; readonly gid: number };
}

const repository = join(import.meta.dirname, "..", "..");

/** Starts an owner in a process group of its own, so that a test can play the terminal's Ctrl-C. */
export function startOwner(options: OwnerOptions): Owner {
  const script = join(options.root ?? repository, "test", "faults", "postgres-owner.ts");
  const child = spawn(process.execPath, [script, options.dataDir, options.sharedRoot], {
    ...options.user,
    cwd: "/",
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const reports: OwnerReport[] = [];
  const watchers = new Set<() => void>();
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    reports.push(JSON.parse(line) as OwnerReport);
    for (const check of watchers) check();
  });
  const seen = (wanted: (report: OwnerReport) => boolean) =>
    new Promise<OwnerReport>((resolve, reject) => {
      const check = () => {
        const found = reports.find(wanted);
        if (found !== undefined) resolve(found);
      };
      watchers.add(check);
      lines.once("close", () => reject(new Error("the owner ended without the awaited report")));
      check();
    });
  const outcome = seen((report) => report.log === undefined);
  // A test that kills an owner early does not ask for its outcome.
  outcome.catch(() => {});
  return {
    process: child,
    reports,
    outcome,
    logged: async (message) => void (await seen((report) => report.log === message)),
    async end(name) {
      child.kill(name);
      const [code, signal] = await exited;
      return { code, signal };
    },
  };
}

/** Ids of the live processes whose command line has `word`, such as the postmaster and initdb of a folder. */
export function processesOn(word: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => readCommandLine(name).includes(word))
    .map(Number);
}

function readCommandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    // It ended between the listing and the look.
    return "";
  }
}
