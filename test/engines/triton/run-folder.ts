import { appendFile, cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The models of `models/`; `ensemble` and `tensorrt_llm_bls` need the other three of TensorRT-LLM. */
export const tritonModels = [
  "preprocessing",
  "postprocessing",
  "tensorrt_llm",
  "ensemble",
  "tensorrt_llm_bls",
  "vllm_model",
  "llmapi",
] as const;

export type TritonModel = (typeof tritonModels)[number];

/** Parameters of a model's config.pbtxt that replace those in the repository, such as `{ delay_ms: "20" }`. */
export type ModelParameters = Partial<Record<TritonModel, Record<string, string>>>;

/** What one server reads and writes, removed with it: a test may edit its models, and Python's caches stay out of the tree. */
export interface RunFolder extends AsyncDisposable {
  readonly path: string;
  readonly models: string;
  readonly backends: string;
  readonly python: string;
  readonly log: string;
}

const here = dirname(fileURLToPath(import.meta.url));

export async function createRunFolder(installation: string, parameters: ModelParameters): Promise<RunFolder> {
  const path = await mkdtemp(join(tmpdir(), "weir-triton-"));
  const folder: RunFolder = {
    path,
    models: join(path, "models"),
    backends: join(path, "backends"),
    python: join(path, "python"),
    log: join(path, "log"),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
  };
  await cp(join(here, "models"), folder.models, { recursive: true });
  await cp(join(here, "python"), folder.python, { recursive: true });
  await cp(join(here, "backends"), folder.backends, { recursive: true });
  await symlink(join(installation, "tritonserver", "backends", "python"), join(folder.backends, "python"));
  await mkdir(folder.log);
  await writeFile(join(folder.log, "events.jsonl"), "");
  // The ensemble has no code, and git keeps no empty folder.
  await mkdir(join(folder.models, "ensemble", "1"), { recursive: true });
  for (const [model, values] of Object.entries(parameters)) {
    await appendFile(join(folder.models, model, "config.pbtxt"), parameterLines(values));
  }
  return folder;
}

function parameterLines(values: Record<string, string>): string {
  // In the text format the last entry of a map key wins.
  return Object.entries(values)
    .map(
      ([key, value]) => `parameters { key: ${JSON.stringify(key)} value { string_value: ${JSON.stringify(value)} } }\n`,
    )
    .join("");
}
