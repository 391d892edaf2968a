import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEngineProcess, untilReady } from "./engine-process.ts";
import { freePorts } from "./free-ports.ts";
import { type EngineName, installEngine } from "./install.ts";
import { killTree } from "./process-tree.ts";

/** A real vLLM, in whatever dress, with the tiny random model of llama.cpp's folder. */
export interface VllmProcess extends AsyncDisposable {
  /** `grpc://127.0.0.1:<port>`. */
  readonly grpcUrl: string;
  /** `http://127.0.0.1:<port>`, without `/v1`. */
  readonly httpUrl: string;
  /** How many requests it runs or keeps waiting, by its own metrics. */
  working(): Promise<number>;
  output(): Promise<string>;
  /** Ends it and its engine at once, as a machine failure does. */
  kill(): Promise<void>;
}

/** Where things are. */
export interface Places {
  /** The folder that the engine is installed in. */
  readonly installation: string;
  /** The folder of the model: safetensors, tokenizer, chat template. */
  readonly model: string;
  readonly httpPort: number;
  readonly grpcPort: number;
}

/** Two to four processes of Python start; on an idle machine that took a minute. */
export const readyTimeoutMs = 400_000;

/**
 * Starts it on ports that the kernel picks.
 *
 * @param command the program and its arguments.
 * @throws when it cannot be installed (ask `requireEngines` first) or does not start.
 */
export async function startVllmProcess(
  name: Extract<EngineName, "vllm" | "tgis">,
  command: (places: Places) => readonly string[],
): Promise<VllmProcess> {
  const [installation, llamaCpp] = await Promise.all([folderOf(name), folderOf("llamacpp")]);
  const folder = await mkdtemp(join(tmpdir(), `weir-${name}-`));
  const [httpPort = 0, grpcPort = 0] = await freePorts(2);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const bin = join(installation, "venv", "bin");
  const places = { installation, model: join(llamaCpp, "model"), httpPort, grpcPort };
  const [program = "", ...args] = command(places);
  const engine = cleanup.use(
    startEngineProcess({
      command: program,
      args,
      env: {
        PATH: `${bin}:${process.env.PATH}`,
        HOME: folder,
        // What it finds out about the model in a process of its own, which is half of a start.
        VLLM_CACHE_ROOT: join(installation, "cache"),
        // In GiB; the default is half of the machine.
        VLLM_CPU_KVCACHE_SPACE: "1",
        VLLM_CPU_OMP_THREADS_BIND: "nobind",
        VLLM_NO_USAGE_STATS: "1",
        HF_HUB_OFFLINE: "1",
      },
      folder,
      stopTimeoutMs: 20_000,
    }),
  );
  // An engine outlives the front end that it was started by.
  cleanup.defer(() => killTree(engine.pid));
  const httpUrl = `http://127.0.0.1:${httpPort}`;
  await untilReady(engine, async () => (await fetch(`${httpUrl}/health`)).ok, readyTimeoutMs);
  await warmUp(httpUrl);

  const owned = cleanup.move();
  return {
    grpcUrl: `grpc://127.0.0.1:${grpcPort}`,
    httpUrl,
    working: async () => {
      const metrics = await (await fetch(`${httpUrl}/metrics`)).text();
      return sumOf(metrics, "vllm:num_requests_running") + sumOf(metrics, "vllm:num_requests_waiting");
    },
    output: () => engine.output(),
    async kill() {
      killTree(engine.pid);
      await engine.ended;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The first request, and the first for log probabilities, load and compile for up to a minute; no test is about that. */
async function warmUp(httpUrl: string): Promise<void> {
  const { data }: { data: { id: string }[] } = JSON.parse(await (await fetch(`${httpUrl}/v1/models`)).text());
  const body = JSON.stringify({ model: data[0]?.id, prompt: "warm", max_tokens: 2, logprobs: 1 });
  const headers = { "content-type": "application/json" };
  const { status } = await fetch(`${httpUrl}/v1/completions`, { method: "POST", headers, body });
  if (status !== 200) throw new Error(`the first request failed with ${status}`);
}

async function folderOf(name: EngineName): Promise<string> {
  const installed = await installEngine(name);
  if (installed.kind === "missing") throw new Error(installed.reason);
  return installed.folder;
}

/** A metric's samples added up, over all its labels. 0 if there are none. */
function sumOf(metrics: string, name: string): number {
  const lines = metrics.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}
