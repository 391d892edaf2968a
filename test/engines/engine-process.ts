import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A running engine. Dispose it to stop it: in order if it obeys, by force if it does not. */
export interface EngineProcess extends AsyncDisposable {
  readonly pid: number;
  /** Resolves with the exit code or the signal's name, whoever ended the process. */
  readonly ended: Promise<number | string>;
  /** The first line of stdout; rejects when the process ends before it. */
  firstLine(): Promise<string>;
  /** What it wrote to stdout and stderr so far. */
  output(): Promise<string>;
  /** Ends it at once, as a machine failure does. */
  kill(): Promise<void>;
}

export interface EngineCommand {
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** An existing folder; the output goes to `output.log` in it. */
  folder: string;
  /** How long an orderly stop may take before the process is killed. */
  stopTimeoutMs: number;
}

/** How long the output of an engine that ended may still come. */
const outputGraceMs = 500;

export function startEngineProcess(options: EngineCommand): EngineProcess {
  // The kernel stops the engine when the thread that started it ends, so that a killed test run leaves none behind.
  const args = ["--pdeathsig", "TERM", options.command, ...options.args];
  const child = spawn("setpriv", args, { env: options.env, cwd: options.folder, stdio: ["ignore", "pipe", "pipe"] });
  const logFile = join(options.folder, "output.log");
  const log = createWriteStream(logFile);
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });

  const ended = new Promise<number | string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("exit", () => {
      // Processes that a killed engine leaves behind hold its pipes open; whoever cleans them up waits for this end.
      setTimeout(() => [child.stdout, child.stderr].map((pipe) => pipe.destroy()), outputGraceMs);
    });
    child.on("close", (code, signal) => log.end(() => resolve(code ?? signal ?? "ended")));
  });
  const line = firstLineOf(child, ended);

  return {
    pid: child.pid ?? -1,
    ended,
    firstLine: () => line,
    output: () => readFile(logFile, "utf8"),
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), options.stopTimeoutMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

function firstLineOf(child: ChildProcess, ended: Promise<number | string>): Promise<string> {
  let text = "";
  const line = new Promise<string>((resolve, reject) => {
    child.stdout?.on("data", (bytes: Buffer) => {
      text += bytes.toString();
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
    });
    void ended.then((how) => reject(new Error(`the engine ended (${how}) before its first line`)));
  });
  // Not every engine has a first line that somebody waits for.
  line.catch(() => undefined);
  return line;
}

/**
 * Asks `probe` until it says yes. A probe that throws says no.
 * @throws when the process ends first or the time is up, with the end of its output.
 */
export async function untilReady(
  process: EngineProcess,
  probe: () => Promise<boolean>,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let how: number | string | undefined;
  void process.ended.then((outcome) => {
    how = outcome;
  });
  for (;;) {
    // An engine that does not listen yet refuses the connection: that is a "no".
    if (await probe().catch(() => false)) return;
    if (how !== undefined || performance.now() > deadline) break;
    await delay(50);
  }
  const tail = (await process.output()).slice(-3_000);
  throw new Error(how === undefined ? `not ready after ${timeoutMs} ms\n${tail}` : `ended (${how}) at start\n${tail}`);
}
