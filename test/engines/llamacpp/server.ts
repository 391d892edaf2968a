import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startEngineProcess, untilReady } from "../engine-process.ts";
import { installEngine } from "../install.ts";

export interface LlamaCppOptions {
  /** The name that /v1/models shows. Default `weir-tiny`. */
  model?: string;
  /** Requests that run at the same time; more wait inside the engine. Default 4. */
  slots?: number;
  /** Tokens that a slot holds, prompt and answer together; at most 8,192, the default. */
  contextTokens?: number;
  /** Also embeds, by the mean of a text's tokens. */
  embeddings?: boolean;
}

/** A real llama.cpp server with a tiny random model. */
export interface LlamaCppServer extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`, without `/v1`. */
  readonly url: string;
  readonly model: string;
  readonly pid: number;
  /** A folder with tokenizer.json, tokenizer_config.json (chat template), config.json, model.safetensors and the GGUF. */
  readonly modelFolder: string;
  /** How many slots generate at this moment, as the engine itself says. */
  busySlots(): Promise<number>;
  /** The sample of a metric without labels, such as `llamacpp:requests_deferred`; undefined if there is none. */
  metric(name: string): Promise<number | undefined>;
  /** What the engine wrote so far. */
  output(): Promise<string>;
  /** Ends it at once, as a machine failure does. */
  kill(): Promise<void>;
}

const serveScript = join(dirname(fileURLToPath(import.meta.url)), "serve.py");

/**
 * Starts llama.cpp on a port that the kernel picks; ready in about a second.
 * @throws when the engine cannot be installed (ask `requireEngines` first) or does not start.
 */
export async function startLlamaCpp(options: LlamaCppOptions = {}): Promise<LlamaCppServer> {
  const installed = await installEngine("llamacpp");
  if (installed.kind === "missing") throw new Error(installed.reason);
  const model = options.model ?? "weir-tiny";
  const modelFolder = join(installed.folder, "model");
  const folder = await mkdtemp(join(tmpdir(), "weir-llamacpp-"));

  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const engine = cleanup.use(
    startEngineProcess({
      command: join(installed.folder, "venv", "bin", "python"),
      args: [
        serveScript,
        join(modelFolder, "weir-tiny.gguf"),
        model,
        String(options.slots ?? 4),
        String(options.contextTokens ?? 8_192),
        ...(options.embeddings ? ["embeddings"] : []),
      ],
      env: { PATH: process.env.PATH },
      folder,
      stopTimeoutMs: 3_000,
    }),
  );
  const url = await listeningAddress(engine);
  // A loaded machine may take several seconds to import the engine.
  await untilReady(engine, async () => (await fetch(`${url}/health`)).ok, 60_000);

  const owned = cleanup.move();
  return {
    url,
    model,
    pid: engine.pid,
    modelFolder,
    busySlots: () => busySlots(url),
    metric: (name) => metric(url, name),
    output: () => engine.output(),
    kill: () => engine.kill(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function listeningAddress(engine: { firstLine(): Promise<string>; output(): Promise<string> }): Promise<string> {
  try {
    const started: { url: string } = JSON.parse(await engine.firstLine());
    return started.url;
  } catch (cause) {
    throw new Error(`llama.cpp did not start\n${(await engine.output()).slice(-3_000)}`, { cause });
  }
}

async function busySlots(url: string): Promise<number> {
  const slots: unknown = await (await fetch(`${url}/slots`)).json();
  if (!Array.isArray(slots)) throw new Error("/slots did not answer with a list");
  return slots.filter((slot: { is_processing?: boolean }) => slot.is_processing === true).length;
}

async function metric(url: string, name: string): Promise<number | undefined> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}
