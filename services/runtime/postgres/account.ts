import { isErrno } from "../durable-file.ts";
import { run } from "./command.ts";

/** The operating-system user that PostgreSQL runs as. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  /** True when it is not the user of this process, which then is root and may change over. */
  readonly foreign: boolean;
}

/** What to spawn a program with so that it runs as `account`. */
export function identityOf(account: Account): { uid?: number; gid?: number } {
  return account.foreign ? { uid: account.uid, gid: account.gid } : {};
}

/** This process's own user, when PostgreSQL can run as that: it refuses root. */
export function ownAccount(): Account | undefined {
  const uid = process.getuid?.();
  const gid = process.getgid?.();
  if (uid === undefined || gid === undefined) {
    throw new Error("embedded PostgreSQL needs Linux or macOS; name a PostgreSQL server in the configuration instead");
  }
  return uid === 0 ? undefined : { uid, gid, foreign: false };
}

/** For root: the user `postgres` or `weir` when there is one, else a new system user `weir`, else `nobody`. */
export async function serviceAccount(): Promise<Account> {
  const existing = (await lookUp("postgres")) ?? (await lookUp("weir"));
  if (existing !== undefined) return existing;
  await createWeirUser();
  const found = (await lookUp("weir")) ?? (await lookUp("nobody"));
  if (found !== undefined) return found;
  throw new Error(
    "PostgreSQL does not run as root, and no user for it could be found or made; add one: useradd --system weir",
  );
}

async function lookUp(name: string): Promise<Account | undefined> {
  const [uid, gid] = await Promise.all([run("id", ["-u", name]), run("id", ["-g", name])]);
  if (uid.code !== 0 || gid.code !== 0) return undefined;
  const account = { uid: Number(uid.stdout), gid: Number(gid.stdout), foreign: true };
  // A machine that calls root `postgres` is no help.
  return account.uid > 0 ? account : undefined;
}

async function createWeirUser(): Promise<void> {
  const options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"];
  try {
    // Its failure, e.g. with a read-only /etc, shows when the user is looked up.
    await run("useradd", [...options, "--shell", "/usr/sbin/nologin", "weir"]);
  } catch (error) {
    // Not every system has useradd; `nobody` serves then.
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

/** Asks the kernel, as `account`, whether all `tests` of test(1), such as `["-x", path]`, hold. */
export async function mayAccess(account: Account, tests: readonly (readonly [string, string])[]): Promise<boolean> {
  const script = 'while [ $# -gt 0 ]; do test "$1" "$2" || exit 1; shift 2; done';
  const { code } = await run("/bin/sh", ["-c", script, "sh", ...tests.flat()], identityOf(account));
  return code === 0;
}
