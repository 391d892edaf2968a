import { mkdir, realpath, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { isErrno, readIfThere } from "./durable-file.ts";
import { type FileLock, lockFile } from "./file-lock.ts";

/** A folder that this process alone uses until it is disposed of. */
export interface DataDir extends AsyncDisposable {
  readonly kind: "opened";
  /** Absolute, without symbolic links. */
  readonly path: string;
  /** True when the folder was made by this call: its permissions are ours to choose. */
  readonly created: boolean;
}

/** Why a data folder could not be had; `message` tells the user what to do. */
export type DataDirRefusal =
  | { readonly kind: "in_use"; readonly pid: number | undefined; readonly message: string }
  | { readonly kind: "unusable"; readonly cause: unknown; readonly message: string };

/**
 * Creates the folder when missing (mode 0700) and takes it for this process alone. The hold ends with the process,
 * kill -9 included. An existing folder keeps its mode.
 */
export async function openDataDir(path: string): Promise<DataDir | DataDirRefusal> {
  const wanted = resolve(path);
  try {
    const created = await createFolder(wanted);
    return await claim(await realpath(wanted), created);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    return {
      kind: "unusable",
      cause,
      message: `cannot use ${wanted} as data folder (${why}); name one that this user may write with --data-dir`,
    };
  }
}

async function createFolder(path: string): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true });
  try {
    await mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST") && (await stat(path)).isDirectory()) return false;
    throw error;
  }
}

async function claim(path: string, created: boolean): Promise<DataDir | DataDirRefusal> {
  const pidPath = join(path, "weir.pid");
  const lock = lockFile(join(path, "weir.lock"));
  if (lock === undefined) {
    const pid = await readPid(pidPath);
    const who = pid === undefined ? "another Weir" : `another Weir (pid ${pid})`;
    return { kind: "in_use", pid, message: `${who} uses ${path}; stop it or name another --data-dir` };
  }
  try {
    await writeFile(pidPath, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    lock.release();
    throw error;
  }
  return { kind: "opened", path, created, [Symbol.asyncDispose]: () => release(lock, pidPath) };
}

async function release(lock: FileLock, pidPath: string): Promise<void> {
  // The pid goes first: after the release the file may already be the next holder's.
  await rm(pidPath, { force: true });
  lock.release();
}

async function readPid(path: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt((await readIfThere(path)) ?? "", 10);
    return Number.isSafeInteger(pid) ? pid : undefined;
  } catch (error) {
    // The holder may be another user, whose file we may not read: its pid stays unknown.
    if (isErrno(error, "EACCES")) return undefined;
    throw error;
  }
}
