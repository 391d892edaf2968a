import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

const sharedMemory = "/dev/shm";

/** The name with which every shared memory region of one server starts: process and port make it unique. */
export function sharedMemoryPrefix(port: number): string {
  return `weir_${process.pid}_${port}_`;
}

/**
 * A server that was killed leaves its Python processes and their shared memory (1 MiB a model) behind. Ends the one
 * and removes the other, for the server with this prefix only.
 */
export async function removeLeftovers(prefix: string): Promise<void> {
  for (const pid of await stubsWith(prefix)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself meanwhile.
    }
  }
  for (const name of await readdir(sharedMemory)) {
    if (name.startsWith(prefix)) await rm(join(sharedMemory, name), { force: true });
  }
}

/** The same for the servers of test processes that no longer run, which nobody else will clean. */
export async function removeAbandoned(): Promise<void> {
  const prefixes = new Map<string, number>();
  for (const name of await readdir(sharedMemory)) {
    const [prefix, pid] = /^weir_(\d+)_\d+_/.exec(name) ?? [];
    if (prefix !== undefined && pid !== undefined) prefixes.set(prefix, Number(pid));
  }
  for (const [prefix, pid] of prefixes) {
    if (!isRunning(pid)) await removeLeftovers(prefix);
  }
}

/** A stub has the name of its shared memory region among its arguments. */
async function stubsWith(prefix: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // A process may end between the listing and the reading.
    const commandLine = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (commandLine.includes("triton_python_backend_stub") && commandLine.includes(`\0${prefix}`))
      pids.push(Number(name));
  }
  return pids;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH; another user's process would be EPERM, and its shared memory is not ours to remove anyway.
    return false;
  }
}
