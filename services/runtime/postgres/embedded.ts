import { join } from "node:path";
import pg from "pg";
import type { Logger } from "pino";
import type { Clock } from "../clock.ts";
import type { DataDir } from "../data-dir.ts";
import { type FileLock, lockFile } from "../file-lock.ts";
import { findBinaries } from "./binaries.ts";
import { type ClusterSettings, clusterFolder, clusterUser, createCluster, writeSettings } from "./cluster.ts";
import { ownerOf } from "./folder.ts";
import { stopOrphan } from "./orphan.ts";
import { findPlace, type Place } from "./place.ts";
import { startPostmaster } from "./postmaster.ts";
import { makeSocketFolder, removeSocketFolder } from "./socket-folder.ts";
import { type PostgresState, type SupervisionEnd, supervise } from "./supervise.ts";

export interface EmbeddedPostgresOptions {
  /** The folder that this process holds; see `openDataDir`. */
  readonly dataDir: Pick<DataDir, "path" | "created">;
  readonly clock: Clock;
  readonly log: Pick<Logger, "debug" | "info" | "warn" | "error">;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
  /** For the programs and clusters that PostgreSQL's user cannot reach where they are. Default `/var/lib/weir`. */
  readonly sharedRoot?: string;
  /** Settings of postgresql.conf, stronger than ours. */
  readonly settings?: ClusterSettings;
  /** Longest start, replay after a crash included. Default 120,000. */
  readonly readyTimeoutMs?: number;
  /** How long restarts are tried after PostgreSQL ended by itself. Default 600,000, as long as known keys go on. */
  readonly giveUpAfterMs?: number;
}

/** A PostgreSQL server of our own. Disposing stops it and frees its cluster. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** `postgresql://weir@<socket folder, percent-encoded>/weir`: only this process's user and root may connect. */
  readonly url: string;
  /** Holds the cluster: below the data folder, or elsewhere when PostgreSQL's user may not go there. */
  readonly folder: string;
  /** Process id of the server that runs now. */
  pid(): number | undefined;
  state(): PostgresState;
  /** Resolves when the server is gone for good: stopped by us, or given up. It never rejects. */
  readonly exited: Promise<SupervisionEnd>;
}

/**
 * Starts PostgreSQL on the data folder's cluster, which is made on first use, and restarts it whenever it ends by
 * itself. A server left behind by a killed owner is stopped first.
 *
 * @throws an error whose message says what to do, when no server can be had.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { clock, log } = options;
  const sharedRoot = options.sharedRoot ?? "/var/lib/weir";
  const signal = options.signal ?? new AbortController().signal;
  await using started = new AsyncDisposableStack();

  const place = await findPlace({ dataDir: options.dataDir, sharedRoot, log });
  started.adopt(lockPlace(place), (lock) => lock.release());
  const binaries = await findBinaries(place.account, sharedRoot, log);
  const cluster = clusterFolder(place);
  await stopOrphan(cluster, clock, log);
  if ((await ownerOf(cluster)) === undefined) await createCluster(place, binaries, signal);
  const socketFolder = await makeSocketFolder(place);
  started.defer(() => removeSocketFolder(place));
  const settingsFile = await writeSettings(place, socketFolder, options.settings);

  const server = started.use(
    await supervise({
      clock,
      log,
      giveUpAfterMs: options.giveUpAfterMs ?? 600_000,
      signal,
      start: (startSignal) =>
        startPostmaster({
          program: binaries.postgres,
          cluster,
          settingsFile,
          account: place.account,
          clock,
          log,
          readyTimeoutMs: options.readyTimeoutMs ?? 120_000,
          signal: startSignal,
        }),
    }),
  );
  await createDatabase(urlOf(socketFolder, "postgres"));
  const running = started.move();
  return {
    url: urlOf(socketFolder, databaseName),
    folder: place.folder,
    pid: server.pid,
    state: server.state,
    exited: server.ended,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

// The name that the services use; `postgres` is PostgreSQL's own, for maintenance.
const databaseName = "weir";

function urlOf(socketFolder: string, database: string): string {
  return `postgresql://${clusterUser}@${encodeURIComponent(socketFolder)}/${database}`;
}

/** Two data folders, one a copy of the other, would share a cluster that lives elsewhere. */
function lockPlace(place: Place): FileLock {
  const lock = lockFile(join(place.folder, "weir.lock"));
  if (lock !== undefined) return lock;
  throw new Error(`another Weir uses the database in ${place.folder}; stop it, or name another --data-dir`);
}

async function createDatabase(maintenanceUrl: string): Promise<void> {
  const client = new pg.Client({
    connectionString: maintenanceUrl,
    connectionTimeoutMillis: 10_000,
    query_timeout: 60_000,
  });
  // A break shows in the query that is under way.
  client.on("error", () => {});
  await client.connect();
  try {
    const { rowCount } = await client.query("select from pg_database where datname = $1", [databaseName]);
    if (rowCount === 0) await client.query(`create database ${databaseName}`);
  } finally {
    await client.end();
  }
}
