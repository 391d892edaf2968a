import { readdirSync, readFileSync } from "node:fs";

/**
 * Kills a process and all that descend from it. Some engines are a front end with processes of their own, which outlive
 * it when it is killed.
 */
export function killTree(pid: number): void {
  for (const each of [pid, ...descendantsOf(pid)]) kill(each);
}

/** Read before anything is killed: an orphan no longer says whose child it was. */
function descendantsOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const parent = /^\d+$/.test(name) ? parentOf(name) : undefined;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  for (const queue = [pid]; queue.length > 0; ) {
    const next = children.get(queue.shift() ?? 0) ?? [];
    found.push(...next);
    queue.push(...next);
  }
  return found;
}

/** Undefined if it ended meanwhile. */
function parentOf(pid: string): number | undefined {
  try {
    // "pid (name, which may hold anything) state parent ..."
    return Number(readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ")[1]);
  } catch {
    // It is gone, and so has no children.
    return undefined;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // It was quicker.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
