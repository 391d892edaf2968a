import { randomBytes } from "node:crypto";
import { link, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Replaces the file at `path` by `text` so that a crash at any moment leaves the old text or the new one, never a part.
 *
 * @param mode permission bits of the new file.
 */
export async function writeDurably(path: string, text: string, mode: number): Promise<void> {
  await publish(path, text, mode, (temporary) => rename(temporary, path));
}

/**
 * The secret kept at `path`; made of 32 random bytes (base64url, mode 0600) on first use. Of several callers that
 * make it at once, one wins and all return the winner's.
 *
 * @param make what a new secret is, when not 32 random bytes.
 * @throws when the file is there and empty: a secret that others rely on is not silently replaced.
 */
export async function readOrCreateSecret(path: string, make: () => string = newSecret): Promise<string> {
  const existing = await readIfThere(path);
  if (existing !== undefined) return secretFrom(path, existing);
  try {
    // A link, unlike a rename, never replaces what somebody else published meanwhile.
    await publish(path, `${make()}\n`, 0o600, (temporary) => link(temporary, path));
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
  return secretFrom(path, await readFile(path, "utf8"));
}

/** The file's text, or undefined when there is no such file. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** True for a system error with one of these codes, e.g. `ENOENT`. */
export function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
}

function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

function secretFrom(path: string, text: string): string {
  const secret = text.trim();
  if (secret === "") throw new Error(`${path} is empty; restore it, or remove it to have a new secret made`);
  return secret;
}

async function publish(
  path: string,
  text: string,
  mode: number,
  place: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await writeSynced(temporary, text, mode);
    await place(temporary);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(dirname(path));
}

async function writeSynced(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    // The umask may have taken bits away that the caller asked for.
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes renames and new entries in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
