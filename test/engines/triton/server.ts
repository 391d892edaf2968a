import { join } from "node:path";
import { type EngineProcess, startEngineProcess, untilReady } from "../engine-process.ts";
import { freePorts } from "../free-ports.ts";
import { installEngine } from "../install.ts";
import { type EngineEvent, readEvents, untilEvents } from "./event-log.ts";
import { removeAbandoned, removeLeftovers, sharedMemoryPrefix } from "./leftovers.ts";
import { createRunFolder, type ModelParameters, type RunFolder, type TritonModel, tritonModels } from "./run-folder.ts";

export interface TritonOptions {
  /** Loaded at the start; the others lie in the repository unloaded. Default: all. */
  models?: readonly TritonModel[];
  /** Model parameters, such as `{ tensorrt_llm: { delay_ms: "20", slots: "4" } }`; the README lists them. */
  parameters?: ModelParameters;
  /** More command line flags of tritonserver. */
  flags?: readonly string[];
}

/** A real Triton server with the models of `models/`. Dispose it to stop it and everything it left. */
export interface TritonServer extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly grpcAddress: string;
  /** `http://127.0.0.1:<port>`. */
  readonly httpUrl: string;
  /** `http://127.0.0.1:<port>/metrics`. */
  readonly metricsUrl: string;
  readonly pid: number;
  /** This server's own copy of the models: a test may change files and load them again. */
  readonly modelRepository: string;
  /** What the models say they did, oldest first. */
  log(): Promise<EngineEvent[]>;
  /** Reads the log until `holds` gives a value; throws after `timeoutMs` (default 5,000). */
  untilLog<T>(holds: (events: EngineEvent[]) => T | undefined | false, timeoutMs?: number): Promise<T>;
  /** What the server wrote to stdout and stderr so far. */
  output(): Promise<string>;
  /** Ends it at once, as a machine failure does. Disposing is still needed. */
  kill(): Promise<void>;
}

/** Six Python processes start; on a busy machine of two cores that took 15 s. */
const readyTimeoutMs = 120_000;
/** Triton waits 2 s (`--exit-timeout-secs`) for running requests, then for its Python processes. */
const stopTimeoutMs = 15_000;
const startAttempts = 3;

/**
 * Starts Triton on ports that the kernel picks; ready in about 5 s.
 * @throws when the engine cannot be installed (ask `requireEngines` first) or does not start.
 */
export async function startTriton(options: TritonOptions = {}): Promise<TritonServer> {
  const installed = await installEngine("triton");
  if (installed.kind === "missing") throw new Error(installed.reason);
  await removeAbandoned();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(installed.folder, options);
    } catch (error) {
      const portTaken = error instanceof Error && /already in use|bind/i.test(error.message);
      if (!portTaken || attempt === startAttempts) throw error;
    }
  }
}

async function startOnce(installation: string, options: TritonOptions): Promise<TritonServer> {
  const [grpcPort = 0, httpPort = 0, metricsPort = 0] = await freePorts(3);
  const prefix = sharedMemoryPrefix(grpcPort);
  const ports = { grpcPort, httpPort, metricsPort };

  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await createRunFolder(installation, options.parameters ?? {}));
  cleanup.defer(() => removeLeftovers(prefix));
  const server = cleanup.use(startServer(installation, folder, ports, prefix, options));
  const httpUrl = `http://127.0.0.1:${httpPort}`;
  await untilReady(server, async () => (await fetch(`${httpUrl}/v2/health/ready`)).ok, readyTimeoutMs);

  const owned = cleanup.move();
  return {
    grpcAddress: `127.0.0.1:${grpcPort}`,
    httpUrl,
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    pid: server.pid,
    modelRepository: folder.models,
    log: () => readEvents(folder.log),
    untilLog: (holds, timeoutMs = 5_000) => untilEvents(folder.log, holds, timeoutMs),
    output: () => server.output(),
    kill: () => server.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Ports {
  grpcPort: number;
  httpPort: number;
  metricsPort: number;
}

function startServer(
  installation: string,
  folder: RunFolder,
  ports: Ports,
  prefix: string,
  options: TritonOptions,
): EngineProcess {
  const models = options.models ?? tritonModels;
  return startEngineProcess({
    command: join(installation, "tritonserver", "bin", "tritonserver"),
    args: [
      `--model-repository=${folder.models}`,
      `--backend-directory=${folder.backends}`,
      "--model-control-mode=explicit",
      ...models.map((model) => `--load-model=${model}`),
      ...["grpc", "http", "metrics"].map((service) => `--${service}-address=127.0.0.1`),
      `--grpc-port=${ports.grpcPort}`,
      `--http-port=${ports.httpPort}`,
      `--metrics-port=${ports.metricsPort}`,
      `--backend-config=python,shm-region-prefix-name=${prefix}`,
      "--exit-timeout-secs=2",
      ...(options.flags ?? []),
    ],
    env: {
      // The Python processes take their packages from the first python3 on the path, and ignore PYTHONPATH.
      PATH: `${join(installation, "venv", "bin")}:${process.env.PATH}`,
      HOME: process.env.HOME,
      TOY_LLM_PATH: folder.python,
      TOY_LLM_LOG_FOLDER: folder.log,
    },
    folder: folder.path,
    stopTimeoutMs,
  });
}
