import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { type Clock, sleep } from "../clock.ts";
import { readIfThere } from "../durable-file.ts";
import { parsePostmasterFile } from "./postmaster-file.ts";
import { commandLine, exists, signalProcess } from "./process-table.ts";
import { stopSteps } from "./stop-steps.ts";

const pollMs = 20;

/**
 * Ends the postmaster that an owner which was killed left running on this cluster, so that the new owner starts one
 * whose life and log it holds. The caller holds the cluster's lock.
 *
 * A `postmaster.pid` whose number now is another program's, or a dead process's that nobody waited for, is removed:
 * PostgreSQL would take that for itself and refuse to start. The file of a postmaster that is plainly gone stays:
 * from it PostgreSQL learns whether that one's children still hold its memory.
 */
export async function stopOrphan(cluster: string, clock: Clock, log: Pick<Logger, "info" | "warn">): Promise<void> {
  const path = join(cluster, "postmaster.pid");
  const pid = parsePostmasterFile((await readIfThere(path)) ?? "")?.pid;
  if (pid === undefined || !exists(pid)) return;
  if (await isPostmasterOf(cluster, pid)) {
    log.info({ pid }, "PostgreSQL outlived its last owner: stopping it before a new start");
    await stop(cluster, pid, clock);
  } else {
    log.warn({ pid }, "postmaster.pid names a process that is not PostgreSQL: removed");
  }
  if (exists(pid)) await rm(path, { force: true });
}

async function stop(cluster: string, pid: number, clock: Clock): Promise<void> {
  for (const { signal, timeoutMs } of stopSteps) {
    signalProcess(pid, signal);
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    while (clock.monotonicMs() < deadlineMs) {
      if (!(await isPostmasterOf(cluster, pid))) return;
      await sleep(clock, pollMs);
    }
  }
  throw new Error(`PostgreSQL (pid ${pid}) still runs on ${cluster} and does not end; end it and start again`);
}

async function isPostmasterOf(cluster: string, pid: number): Promise<boolean> {
  return (await commandLine(pid)).includes(cluster);
}
