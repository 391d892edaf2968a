// A process that owns a data folder and its PostgreSQL, as the gateway does, for tests that kill it.
// Arguments: data folder, shared root. Prints one JSON object a line: see OwnerReport in owner-process.ts.
// SIGTERM and SIGINT end it; it writes a last row before it stops PostgreSQL.
import pg from "pg";
import { systemClock } from "../../services/runtime/clock.ts";
import { openDataDir } from "../../services/runtime/data-dir.ts";
import { startEmbeddedPostgres } from "../../services/runtime/postgres/embedded.ts";

const [, , path = "", sharedRoot = ""] = process.argv;
const report = (line: object) => void process.stdout.write(`${JSON.stringify(line)}\n`);
const say = (fields: unknown, message?: string) => report({ log: message, fields });

const dataDir = await openDataDir(path);
if (dataDir.kind !== "opened") {
  report({ refused: dataDir.message });
  process.exit(1);
}
const stopping = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stopping.abort());
try {
  await using resources = new AsyncDisposableStack();
  resources.use(dataDir);
  const log = { debug: say, info: say, warn: say, error: say };
  const server = await startEmbeddedPostgres({
    dataDir,
    sharedRoot,
    log,
    clock: systemClock,
    signal: stopping.signal,
  });
  resources.use(server);
  report({ ready: { url: server.url, folder: server.folder, pid: server.pid() } });
  await new Promise((resolve) => {
    const keepAlive = setInterval(() => {}, 1_000);
    stopping.signal.addEventListener("abort", () => {
      clearInterval(keepAlive);
      resolve(undefined);
    });
  });
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query("create table if not exists goodbye (at timestamptz)");
  await client.query("insert into goodbye values (now())");
  await client.end();
} catch (error) {
  report({ failed: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
