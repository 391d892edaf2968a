import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import { systemClock } from "../../../services/runtime/clock.ts";
import { startEmbeddedPostgres } from "../../../services/runtime/postgres/embedded.ts";
import { type CutProxy, startCutProxy } from "../../fakes/cut-proxy.ts";
import { eventually } from "../../rpc/eventually.ts";

/** A PostgreSQL of a test's own, which may be killed, behind a network that may be cut. It syncs, as a real one does. */
export interface OwnPostgres extends AsyncDisposable {
  /** Through the network, over TCP. */
  readonly url: string;
  /** Past it, for those who look at the truth. */
  readonly directUrl: string;
  readonly network: CutProxy;
  /** Kills its main process, and resolves at once; it is started again by itself. */
  kill(): void;
  /** Resolves when it accepts connections. */
  ready(): Promise<void>;
}

/** A start after a kill replays the log, on a machine that is busy. */
const readyMs = 60_000;

/** Starts one in a folder that every user may enter. */
export async function startOwnPostgres(folder: string): Promise<OwnPostgres> {
  await using started = new AsyncDisposableStack();
  const path = join(folder, "postgres");
  await mkdir(path, { mode: 0o755 });
  const server = started.use(
    await startEmbeddedPostgres({
      dataDir: { path, created: true },
      clock: systemClock,
      // It tells of each kill.
      log: pino({ level: "silent" }),
      settings: { max_connections: "100" },
    }),
  );
  const direct = new URL(server.url.replace(/@[^/]*/, "@socket"));
  const socketFolder = decodeURIComponent(/@([^/]+)\//.exec(server.url)?.[1] ?? "");
  const network = started.use(await startCutProxy({ path: join(socketFolder, ".s.PGSQL.5432") }));
  const running = started.move();
  let killed: number | undefined;
  return {
    url: `postgresql://${direct.username}@127.0.0.1:${network.port}${direct.pathname}`,
    directUrl: server.url,
    network,
    kill() {
      killed = server.pid();
      if (killed === undefined) throw new Error("PostgreSQL is not up, so it cannot be killed");
      process.kill(killed, "SIGKILL");
    },
    async ready() {
      const isUp = () => server.state() === "ready" && server.pid() !== killed;
      await eventually("PostgreSQL is up again", isUp, readyMs);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
