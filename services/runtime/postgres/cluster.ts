import { randomBytes } from "node:crypto";
import { chmod, readdir, rename, rm, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { syncFolder } from "../durable-file.ts";
import { identityOf } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { run } from "./command.ts";
import { makeOwnedFolder } from "./folder.ts";
import type { Place } from "./place.ts";

/** The cluster's superuser, and the database that the services use. */
export const clusterUser = "weir";

/** Settings of postgresql.conf by name. Values are plain words, numbers with a unit, or paths. */
export type ClusterSettings = Readonly<Record<string, string>>;

const unfinished = "cluster.new-";

/** PostgreSQL's data folder in a place. */
export function clusterFolder(place: Place): string {
  return join(place.folder, "cluster");
}

/** Makes an empty cluster in `place`, whole or not at all, and synced to disk. */
export async function createCluster(place: Place, binaries: Binaries, signal: AbortSignal): Promise<void> {
  await removeUnfinished(place.folder);
  const folder = join(place.folder, unfinished + randomBytes(4).toString("hex"));
  await makeOwnedFolder(folder, place.account);
  const pgdata = `--pgdata=${folder}`;
  const fresh = [
    pgdata,
    `--username=${clusterUser}`,
    "--auth=peer",
    "--encoding=UTF8",
    // The same order and case mapping on every machine, whatever its C library.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    // One sync at the end is several times faster than one a file.
    "--no-sync",
  ];
  for (const args of [fresh, [pgdata, "--sync-only"]]) {
    const { code, stderr } = await run(binaries.initdb, args, { ...identityOf(place.account), signal });
    if (code !== 0) throw new Error(`could not create the database in ${place.folder}: ${stderr.trim()}`);
  }
  await rename(folder, clusterFolder(place));
  await syncFolder(place.folder);
}

async function removeUnfinished(placeFolder: string): Promise<void> {
  for (const name of await readdir(placeFolder)) {
    // The initdb of a start that was killed may still write into it, until it misses what is gone.
    const patiently = { recursive: true, force: true, maxRetries: 10, retryDelay: 100 };
    if (name.startsWith(unfinished)) await rm(join(placeFolder, name), patiently);
  }
}

/**
 * Writes the settings and access rules that PostgreSQL is started with, anew at every start: the machine or the user
 * may have changed since the last one.
 *
 * @param settings added to, and stronger than, our own.
 * @returns the path of the settings file.
 */
export async function writeSettings(
  place: Place,
  socketFolder: string,
  settings: ClusterSettings = {},
): Promise<string> {
  const file = (name: string) => join(place.folder, name);
  const all = { ...ourSettings, unix_socket_directories: socketFolder, ...settings };
  const lines = Object.entries({
    ...all,
    data_directory: clusterFolder(place),
    hba_file: file("pg_hba.conf"),
    ident_file: file("pg_ident.conf"),
  }).map(([name, value]) => `${name} = ${quoted(value, "'")}`);
  // What initdb found out about the machine comes first.
  lines.unshift(`include = ${quoted(join(clusterFolder(place), "postgresql.conf"), "'")}`);
  await writeForAccount(file("postgresql.conf"), lines);
  // The kernel tells who connects: no password exists that could leak.
  await writeForAccount(file("pg_hba.conf"), ["local all all peer map=weir"]);
  await writeForAccount(file("pg_ident.conf"), [`weir ${quoted(userInfo().username, '"')} ${clusterUser}`]);
  return file("postgresql.conf");
}

const ourSettings: ClusterSettings = {
  // A socket in a private folder is all: no port to collide with, nothing to reach from outside.
  listen_addresses: "",
  unix_socket_permissions: "0700",
  max_connections: "60",
  // A gateway's tables are small, and the engines want the memory.
  shared_buffers: "64MB",
  max_wal_size: "512MB",
  fsync: "on",
  full_page_writes: "on",
  synchronous_commit: "on",
  timezone: "UTC",
  log_timezone: "UTC",
  log_destination: "stderr",
  logging_collector: "off",
  log_line_prefix: "",
  // Statements and their errors may hold a tenant's text, and their sender is told of them anyway.
  log_min_messages: "log",
  log_min_error_statement: "panic",
  log_error_verbosity: "terse",
  log_checkpoints: "off",
  log_autovacuum_min_duration: "-1",
};

function quoted(text: string, mark: string): string {
  if (/[\r\n]/.test(text)) throw new Error(`a line break cannot be part of ${JSON.stringify(text)}`);
  return `${mark}${text.replaceAll(mark, mark + mark)}${mark}`;
}

async function writeForAccount(path: string, lines: readonly string[]): Promise<void> {
  await writeFile(path, `${lines.join("\n")}\n`);
  // They hold no secret, and PostgreSQL's user is to read them whatever the umask.
  await chmod(path, 0o644);
}
