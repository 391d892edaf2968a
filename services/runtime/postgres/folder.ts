import { chmod, chown, mkdir, stat } from "node:fs/promises";
import { isErrno } from "../durable-file.ts";
import type { Account } from "./account.ts";

/** Makes the folder, and missing ones above it, with exactly `mode`, whatever the umask; an existing one keeps its own. */
export async function makeFolder(path: string, mode: number): Promise<void> {
  if ((await mkdir(path, { recursive: true })) !== undefined) await chmod(path, mode);
}

/** Makes a private folder of the account's. */
export async function makeOwnedFolder(path: string, account: Account): Promise<void> {
  await mkdir(path, { mode: 0o700 });
  await giveTo(account, path);
}

/** Makes the account the owner, if it is not this process's user. */
export async function giveTo(account: Account, path: string): Promise<void> {
  if (account.foreign) await chown(path, account.uid, account.gid);
}

/** The owner of what is at `path`, or undefined when nothing is. */
export async function ownerOf(path: string): Promise<{ uid: number; gid: number } | undefined> {
  try {
    const { uid, gid } = await stat(path);
    return { uid, gid };
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
