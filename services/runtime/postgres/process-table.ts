import { readFile } from "node:fs/promises";
import { isErrno } from "../durable-file.ts";
import { run } from "./command.ts";

/** True while a process with this id exists, whoever's it is and even if it only awaits its parent's notice. */
export function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isErrno(error, "ESRCH");
  }
}

/** Sends a signal; a process that is gone meanwhile is as good as one that obeyed. */
export function signalProcess(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!isErrno(error, "ESRCH")) throw error;
  }
}

/** The words of a process's command line; empty when the process is gone, or dead and not yet waited for. */
export async function commandLine(pid: number): Promise<string> {
  if (process.platform !== "linux") return (await run("ps", ["-o", "args=", "-p", String(pid)])).stdout;
  try {
    return (await readFile(`/proc/${pid}/cmdline`, "utf8")).replaceAll("\0", " ");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return "";
    throw error;
  }
}
