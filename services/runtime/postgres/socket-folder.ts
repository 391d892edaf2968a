import { mkdtemp, readlink, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isErrno } from "../durable-file.ts";
import { giveTo, makeOwnedFolder } from "./folder.ts";
import type { Place } from "./place.ts";

// The kernel's field for a socket's path holds 108 bytes on Linux, 104 on macOS, a closing zero included.
const socketPathMaxBytes = 103;
const socketName = ".s.PGSQL.5432";
// Not TMPDIR: that can be long, and closed to PostgreSQL's user.
const shortRoot = "/tmp";
const shortPrefix = "weir-";

/**
 * Makes an empty private folder for PostgreSQL's socket: `<place>/run`, or when that is too long for a socket's path
 * one below /tmp, to which `<place>/run` links. What an earlier start left is removed.
 */
export async function makeSocketFolder(place: Place): Promise<string> {
  await removeSocketFolder(place);
  const link = join(place.folder, "run");
  if (Buffer.byteLength(join(link, socketName)) <= socketPathMaxBytes) {
    await makeOwnedFolder(link, place.account);
    return link;
  }
  const folder = await mkdtemp(join(shortRoot, shortPrefix));
  await giveTo(place.account, folder);
  await symlink(folder, link);
  return folder;
}

/** Removes the folder that {@link makeSocketFolder} made, now or in an earlier process. */
export async function removeSocketFolder(place: Place): Promise<void> {
  const link = join(place.folder, "run");
  const target = await linkTarget(link);
  if (target !== undefined && dirname(target) === shortRoot && target.startsWith(join(shortRoot, shortPrefix))) {
    await rm(target, { recursive: true, force: true });
  }
  await rm(link, { recursive: true, force: true });
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    // Not there, or a real folder.
    if (isErrno(error, "ENOENT", "EINVAL")) return undefined;
    throw error;
  }
}
