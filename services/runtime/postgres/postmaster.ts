import { type ChildProcessByStdio, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Logger } from "pino";
import { type Clock, sleep } from "../clock.ts";
import { readIfThere } from "../durable-file.ts";
import { type Account, identityOf } from "./account.ts";
import { commandEnvironment } from "./command.ts";
import { parsePostmasterFile } from "./postmaster-file.ts";
import { stopSteps } from "./stop-steps.ts";

/** How a postmaster ended; one of the two is null. */
export interface PostmasterExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One life of PostgreSQL's main process, which accepts connections. Disposing stops it. */
export interface Postmaster extends AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<PostmasterExit>;
}

export interface PostmasterOptions {
  readonly program: string;
  readonly cluster: string;
  readonly settingsFile: string;
  readonly account: Account;
  readonly clock: Clock;
  readonly log: Pick<Logger, "debug" | "warn" | "error">;
  /** After this without being ready it is stopped. Replaying the log after a crash counts. */
  readonly readyTimeoutMs: number;
  readonly signal: AbortSignal;
}

const pollMs = 10;
const linesKeptMax = 20;
const lineMaxChars = 2_000;

/**
 * Starts PostgreSQL and waits until it accepts connections. It gets a session of its own: Ctrl-C in a terminal reaches
 * us, and we end it when the last writer is done.
 *
 * @throws with PostgreSQL's last words when it ends instead, does not get ready in time, or `signal` aborts.
 */
export async function startPostmaster(options: PostmasterOptions): Promise<Postmaster> {
  const child = spawn(options.program, ["-D", options.cluster, "-c", `config_file=${options.settingsFile}`], {
    ...identityOf(options.account),
    cwd: "/",
    env: commandEnvironment,
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new AbortController();
  const exited = new Promise<PostmasterExit>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve({ code, signal }));
  }).finally(() => ended.abort());
  const lastLines = followLog(child, options);
  const starting = AbortSignal.any([ended.signal, options.signal]);
  const outcome = await Promise.race([exited, waitUntilReady(child.pid, starting, options)]);
  if (outcome === "ready" && child.pid !== undefined) {
    return { pid: child.pid, exited, [Symbol.asyncDispose]: () => stop(child, ended.signal, options.clock) };
  }
  await stop(child, ended.signal, options.clock);
  options.signal.throwIfAborted();
  throw new Error(`PostgreSQL did not start (${describe(outcome)}): ${lastLines.join(" | ")}`);
}

function describe(outcome: PostmasterExit | "ready" | "late" | "aborted"): string {
  if (typeof outcome === "string") return outcome === "late" ? "not ready in time" : outcome;
  return outcome.signal ?? `exit code ${outcome.code}`;
}

async function waitUntilReady(
  pid: number | undefined,
  signal: AbortSignal,
  { clock, cluster, readyTimeoutMs }: PostmasterOptions,
): Promise<"ready" | "late" | "aborted"> {
  const path = join(cluster, "postmaster.pid");
  const deadlineMs = clock.monotonicMs() + readyTimeoutMs;
  while (clock.monotonicMs() < deadlineMs) {
    const file = parsePostmasterFile((await readIfThere(path)) ?? "");
    if (file?.pid === pid && file?.ready) return "ready";
    if (!(await sleep(clock, pollMs, signal))) return "aborted";
  }
  return "late";
}

async function stop(child: PostgresProcess, ended: AbortSignal, clock: Clock): Promise<void> {
  for (const { signal, timeoutMs } of stopSteps) {
    if (ended.aborted) return;
    child.kill(signal);
    await sleep(clock, timeoutMs, ended);
  }
}

type PostgresProcess = ChildProcessByStdio<null, null, Readable>;

/** Passes PostgreSQL's own log on; the last lines are kept for the message of a failed start. */
function followLog(child: PostgresProcess, { log }: PostmasterOptions): readonly string[] {
  const lastLines: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    const text = line.slice(0, lineMaxChars);
    lastLines.push(text);
    if (lastLines.length > linesKeptMax) lastLines.shift();
    if (text.startsWith("PANIC")) log.error({ postgres: text }, "PostgreSQL panicked");
    else log.debug({ postgres: text }, "PostgreSQL says");
  });
  return lastLines;
}
