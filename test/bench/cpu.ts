import { readdirSync, readFileSync } from "node:fs";
import { isErrno } from "../../services/runtime/durable-file.ts";

/** What a process has had of the machine so far. */
export interface CpuTime {
  /** User and system time, of all its threads, in microseconds. */
  readonly ranUs: number;
  /** How long its threads were ready and had to wait for a core, in microseconds. */
  readonly waitedUs: number;
}

/** Linux counts the time of processes in hundredths of a second, and that of their threads in nanoseconds. */
const tickUs = 10_000;

/** Of a process whose threads live as long as it does: what a thread had is gone with it. */
export function cpuOf(pid: number): CpuTime {
  let [ranNs, waitedNs] = [0, 0];
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [ran = 0, waited = 0] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ").map(Number);
    ranNs += ran;
    waitedNs += waited;
  }
  return { ranUs: ranNs / 1_000, waitedUs: waitedNs / 1_000 };
}

/**
 * Of a process and all the processes that it started or that those did, in microseconds. Those that are over are known to a hundredth
 * of a second: PostgreSQL's last, but for its helpers.
 */
export function cpuWithChildrenUs(pid: number): number {
  for (;;) {
    const over = endedChildrenUs(pid);
    let sumUs = cpuOf(pid).ranUs;
    let complete = true;
    for (const child of childrenOf(pid)) {
      const us = ifThere(() => cpuWithChildrenUs(child));
      sumUs += us ?? 0;
      complete &&= us !== undefined;
    }
    // One that ended meanwhile could be counted twice, or not at all.
    if (complete && over === endedChildrenUs(pid)) return sumUs + over;
  }
}

function endedChildrenUs(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[13]) + Number(fields[14])) * tickUs;
}

/** What is read of another process may be gone meanwhile. */
function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return undefined;
    throw error;
  }
}

/** What everything on the machine has used so far but a process, its children and theirs, in microseconds. */
export function cpuOfOthersUs(pid: number): number {
  const fields = /^cpu +(.*)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1]?.split(" ").map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = fields;
  return (user + nice + system + irq + softirq + steal) * tickUs - cpuWithChildrenUs(pid);
}

/** The ids of the processes that a process started and that still run. */
export function childrenOf(pid: number): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((other) => Number(ifThere(() => statOf(other))?.[1]) === pid);
}

/** The fields of /proc/PID/stat from the third on, the state. */
function statOf(pid: number): readonly string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** The name of a process's program. */
export function programOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
}

/** Resident memory of a process, in bytes. */
export function rssBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1_024;
}

/** Runs something and tells by how much a process's memory grew meanwhile, at its highest. */
export async function withPeakRss<T>(pid: number, run: () => Promise<T>): Promise<readonly [T, number]> {
  const restBytes = rssBytes(pid);
  let peakBytes = restBytes;
  const sampling = setInterval(() => {
    peakBytes = Math.max(peakBytes, rssBytes(pid));
  }, 100);
  try {
    return [await run(), peakBytes - restBytes];
  } finally {
    clearInterval(sampling);
  }
}
