import { closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { isErrno } from "./durable-file.ts";

/** An exclusive hold on a file; the kernel drops it when the process ends, however it ends. */
export interface FileLock {
  release(): void;
}

// SQLITE_BUSY: somebody else has the lock.
const sqliteBusy = 5;

/**
 * Takes an exclusive advisory lock on the file at `path`, which is created when missing and stays behind, empty.
 *
 * Node cannot lock a file itself, but its SQLite does, with the kernel's own locks: they need no clean-up after a
 * kill -9, and two starts that race for one cannot both win. Nobody else may open the file in this process: closing
 * any other descriptor of it would drop the lock.
 *
 * @returns undefined when another holder, in this process or another one, has it.
 * @throws when the file cannot be made or opened, or is not an empty or SQLite file.
 */
export function lockFile(path: string): FileLock | undefined {
  createPrivate(path);
  const holder = new DatabaseSync(path, { timeout: 0 });
  try {
    holder.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    holder.close();
    if (error instanceof Error && "errcode" in error && error.errcode === sqliteBusy) return undefined;
    throw error;
  }
  return { release: () => holder.close() };
}

/** A file that others may open they may lock, too. An existing one is not opened: closing it would drop our own lock. */
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}
