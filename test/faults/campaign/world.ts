import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CutProxy, startCutProxy } from "../../fakes/cut-proxy.ts";
import { openFolder } from "../../fakes/open-folder.ts";
import { RecordTail, type Traced } from "../../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../../fakes/simulator-process.ts";
import { startWeirProcess, type WeirProcess } from "../../fakes/weir-process.ts";
import { type ControlCalls, controlCalls } from "./control-calls.ts";
import { type LedgerReader, ledgerReader } from "./ledger-dump.ts";
import type { ClientKey } from "./load.ts";
import { type OwnPostgres, startOwnPostgres } from "./own-postgres.ts";

/**
 * - `one`: all roles in one process.
 * - `two`: `edge` and `router` in one, the control plane in another, with a network between them that may be cut.
 */
export type Shape = "one" | "two";

/** One process of the gateway, over its many lives in the same data folder. */
export interface Life {
  /** Kills it. Resolves when it is gone, with the moment of the kill. */
  kill(): Promise<number>;
  /** Starts it again. */
  start(): Promise<void>;
  /** The one that runs now. */
  readonly now: WeirProcess;
}

/** A whole installation of real processes: gateway, PostgreSQL, two engines. */
export interface World extends AsyncDisposable {
  readonly shape: Shape;
  /** Serves requests. */
  readonly data: Life;
  /** Serves keys and the ledger: the same process as `data` in one, another one in two. */
  readonly control: Life;
  /** Between the two. */
  readonly mesh: CutProxy;
  readonly postgres: OwnPostgres;
  readonly ledger: LedgerReader;
  readonly calls: ControlCalls;
  /** Clients' keys without limits of their own, evenly of three projects. */
  readonly keys: readonly ClientKey[];
  /** What engines recorded since they began. */
  traces(): readonly Traced[];
  /** What engines work on now. */
  open(): readonly Traced[];
  /** Requests that engines have finished so far. */
  finished(): number;
}

export interface WorldOptions {
  readonly shape: Shape;
  /** A client each. */
  readonly keys: number;
}

const projects = ["red", "green", "blue"] as const;
/** Slow enough that every phase lasts, fast enough for hundreds of rounds. */
const engineFlags = ["--decode-ms", "8", "--prefill-ms", "0.8", "--slots", "64"];
const listen = "listen: { port: 0, admin_port: 0, mesh_port: 0 }";

/** Starts everything, and makes the keys. */
export async function startWorld({ shape, keys }: WorldOptions): Promise<World> {
  await using started = new AsyncDisposableStack();
  const folder = await openFolder("weir-world-");
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const postgres = started.use(await startOwnPostgres(folder));
  const engines = await Promise.all([startSimulatorProcess(engineFlags), startSimulatorProcess(engineFlags)]);
  for (const engine of engines) started.use(engine);
  const tails = engines.map(({ recordPath }) => started.use(new RecordTail(recordPath)));
  const mesh = started.use(await startCutProxy());

  const life = async (name: string, config: string, up: (weir: WeirProcess) => void): Promise<Life> => {
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, config);
    const begin = async () => {
      const weir = await startWeirProcess({ args: ["--config", file], dataDir: join(folder, name) });
      up(weir);
      return weir;
    };
    let now = await begin();
    started.defer(() => now[Symbol.asyncDispose]());
    return {
      async kill() {
        const atMs = Date.now();
        now.kill("SIGKILL");
        await now.exited;
        return atMs;
      },
      async start() {
        now = await begin();
      },
      get now() {
        return now;
      },
    };
  };
  const stored = `postgres: { url: "${postgres.url}" }`;
  const served = fleetYaml(engines);
  let data: Life;
  let control: Life;
  if (shape === "one") {
    const config = [listen, stored, served].join("\n");
    data = await life("weir", config, () => undefined);
    control = data;
  } else {
    const token = "mesh: { token_file: mesh.token";
    const config = [listen, "roles: [catalog, auth, quota, usage]", `${token} }`, stored, served].join("\n");
    control = await life("control", config, ({ meshUrl }) => {
      mesh.target = { host: "127.0.0.1", port: Number(new URL(meshUrl).port) };
    });
    const url = `"http://127.0.0.1:${mesh.port}"`;
    const peers = `peers: { auth: ${url}, catalog: ${url}, quota: ${url}, usage: ${url} }`;
    data = await life("data", [listen, "roles: [edge, router]", `${token}, ${peers} }`].join("\n"), () => undefined);
  }
  const calls = controlCalls(() => control.now.url, control.now.key);
  for (const project of projects) await calls.createProject(project);
  const made: ClientKey[] = [];
  for (let at = 0; at < keys; at++) {
    const key = await calls.createKey(projects[at % projects.length] ?? "");
    made.push({ ...key, clients: 1, limited: false });
  }
  const running = started.move();
  return {
    shape,
    data,
    control,
    mesh,
    postgres,
    calls,
    keys: made,
    ledger: ledgerReader(postgres.directUrl),
    traces: () => tails.flatMap((tail) => tail.read()),
    open: () => tails.flatMap((tail) => tail.open()),
    finished() {
      for (const tail of tails) tail.follow();
      return tails.reduce((sum, { finished }) => sum + finished, 0);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The models of `wishes.ts`. */
function fleetYaml([a, b]: readonly SimulatorProcess[]): string {
  const pool = (id: string, replicas: readonly [string, string | undefined][], more = "") => {
    const list = replicas.map(([dialect, url]) => `{ url: "${url}", dialect: ${dialect} }`);
    return `  - { id: ${id}, replicas: [${list.join(", ")}]${more} }`;
  };
  const both: [string, string | undefined][] = [
    ["openai", a?.httpUrl],
    ["openai", b?.httpUrl],
  ];
  const pools = [
    pool("wide", both),
    pool("narrow", [["openai", a?.httpUrl]], ", concurrency_max: 2"),
    pool("frail", both),
    pool("vllm", [["vllm", a?.vllmUrl]]),
    pool("tgis", [["tgis", b?.tgisUrl]]),
    pool("triton", [["triton", b?.grpcUrl]]),
  ];
  // What the engines call them.
  const named = {
    wide: "weir-sim",
    narrow: "weir-sim",
    frail: "weir-sim",
    vllm: "weir-sim",
    tgis: "tgis",
    triton: "ensemble",
  };
  const models = Object.entries(named).map(([id, engine]) => `  - { id: ${id}, pool: ${id}, engine_model: ${engine} }`);
  return `pools:\n${pools.join("\n")}\nmodels:\n${models.join("\n")}`;
}
