import { randomBytes } from "node:crypto";
import { chmod, chown, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Logger } from "pino";
import type { DataDir } from "../data-dir.ts";
import { readIfThere, writeDurably } from "../durable-file.ts";
import { type Account, mayAccess, ownAccount, serviceAccount } from "./account.ts";
import { makeFolder, ownerOf } from "./folder.ts";

/** Where a cluster lives and whose it is. */
export interface Place {
  /** Holds `cluster` (PostgreSQL's data), its settings, its lock and its socket. */
  readonly folder: string;
  readonly account: Account;
}

export interface PlaceOptions {
  readonly dataDir: Pick<DataDir, "path" | "created">;
  /** For what PostgreSQL's user may not reach below the data folder. Its parent is open to all. */
  readonly sharedRoot: string;
  readonly log: Pick<Logger, "info">;
}

/** The data folder's note of a cluster that lives elsewhere. */
const noteName = "postgres.place";

/**
 * Finds the cluster of a data folder, or chooses a place for a new one: `<data folder>/postgres` when PostgreSQL's user
 * can enter that, else a folder of its own under `sharedRoot`, noted in the data folder. Only root has the choice to
 * make; any other user runs PostgreSQL as itself. No folder that we did not make has its permissions changed.
 */
export async function findPlace(options: PlaceOptions): Promise<Place> {
  const noted = (await readIfThere(join(options.dataDir.path, noteName)))?.trim();
  const folder = noted ?? join(options.dataDir.path, "postgres");
  const owner = await ownerOf(join(folder, "cluster"));
  if (owner !== undefined) return { folder, account: await accountOfCluster(folder, owner) };
  const account = ownAccount() ?? (await serviceAccount());
  if (noted === undefined) return { folder: await newFolder(folder, account, options), account };
  // A start that was killed before it had made the cluster leaves the folder empty.
  if (await mayAccess(account, [["-x", noted]])) return { folder: noted, account };
  throw new Error(
    `the database of ${options.dataDir.path} should be in ${noted}, which is gone; restore it, or remove the file ${noteName} to begin with an empty one`,
  );
}

async function accountOfCluster(folder: string, { uid, gid }: Omit<Account, "foreign">): Promise<Account> {
  const own = ownAccount();
  if (own !== undefined && own.uid !== uid) {
    throw new Error(
      `the database in ${folder} belongs to the user with id ${uid}; run as that user or as root, or name another --data-dir`,
    );
  }
  const account = own ?? { uid, gid, foreign: true };
  if (await mayAccess(account, [["-x", join(folder, "cluster")]])) return account;
  throw new Error(
    `PostgreSQL's user (id ${uid}) can no longer enter ${folder}; allow it to (chmod o+x on the folders above it), or move the data folder back`,
  );
}

async function newFolder(preferred: string, account: Account, options: PlaceOptions): Promise<string> {
  if (!account.foreign) {
    await makeFolder(preferred, 0o700);
    return preferred;
  }
  if (options.dataDir.created) {
    // Ours and still private: PostgreSQL's group may pass through, and not look around.
    await chown(options.dataDir.path, 0, account.gid);
    await chmod(options.dataDir.path, 0o710);
  }
  await makeFolder(preferred, 0o711);
  if (await mayAccess(account, [["-x", preferred]])) return preferred;
  // No cluster is in it: that would have been found.
  await rm(preferred, { recursive: true });
  return elsewhere(account, options);
}

async function elsewhere(account: Account, { dataDir, sharedRoot, log }: PlaceOptions): Promise<string> {
  await makeFolder(sharedRoot, 0o755);
  const folder = join(sharedRoot, `${basename(dataDir.path)}-${randomBytes(6).toString("hex")}`);
  await makeFolder(folder, 0o711);
  if (!(await mayAccess(account, [["-x", folder]]))) {
    await rm(folder, { recursive: true });
    throw new Error(
      `PostgreSQL's user (id ${account.uid}) may enter neither ${dataDir.path} nor ${sharedRoot}; name a --data-dir that it may enter, such as /srv/weir`,
    );
  }
  // Both ways: who removes a data folder can find, and remove, what belonged to it.
  await writeDurably(join(folder, "data-folder"), `${dataDir.path}\n`, 0o600);
  await writeDurably(join(dataDir.path, noteName), `${folder}\n`, 0o600);
  log.info({ folder }, "PostgreSQL's user may not enter the data folder: the database is kept elsewhere");
  return folder;
}
