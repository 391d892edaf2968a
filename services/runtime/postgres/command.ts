import { spawn } from "node:child_process";

/** How a program ended. `code` is null when a signal ended it. */
export interface CommandResult {
  readonly code: number | null;
  /** At most the last 64 KiB. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly uid?: number;
  readonly gid?: number;
  /** Ends the program with SIGTERM. */
  readonly signal?: AbortSignal;
}

const outputMax = 64 * 1024;

// Administrative programs lie in sbin, which a user's PATH often lacks. No other variable reaches a program: the
// locale decides what it prints, and a PG* variable would change what PostgreSQL's programs do.
export const commandEnvironment = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };

/**
 * Runs a program to its end, in `/`: the folder of this process may be closed to the program's user.
 *
 * @throws when it cannot be started.
 */
export function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      ...options,
      cwd: "/",
      env: commandEnvironment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8");
      child[name].on("data", (text: string) => {
        output[name] = (output[name] + text).slice(-outputMax);
      });
    }
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...output }));
  });
}
