import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Target } from "../openai-scenarios.ts";

const run = promisify(execFile);
const here = import.meta.dirname;
const cache = resolve(here, "../../../.cache");
const requirements = join(here, "requirements.txt");
const installTimeoutMs = 300_000;

/** The interpreter that has the official client, or why there is none. */
export type PythonClient = { readonly python: string } | { readonly missing: string };

/** Installs the official client for Python below `.cache`, unless it is there. Without Python or a registry: `missing`. */
export async function installPythonClient(): Promise<PythonClient> {
  const pins = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 12);
  const folder = join(cache, `venv-openai-${pins}`);
  const stamp = join(folder, "installed");
  const python = join(folder, "bin/python");
  if (existsSync(stamp)) return { python };
  await mkdir(cache, { recursive: true });
  const script = resolve(here, "../../engines/venv.sh");
  // The lock dies with its holder, so that a killed install blocks nobody.
  const command = '[ -f "$2" ] || { sh "$1" "$3" "$4" && touch "$2"; }';
  try {
    await run("flock", [`${folder}.lock`, "sh", "-c", command, "sh", script, stamp, folder, requirements], {
      timeout: installTimeoutMs,
    });
    return { python };
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    return { missing: `the official client for Python could not be installed: ${stderr.split("\n").at(-1)}` };
  }
}

/** How one scenario went; no failure is a success. */
export interface Outcome {
  readonly name: string;
  readonly failure: string | null;
}

/** Runs every scenario of scenarios.py against the server. */
export async function runPythonScenarios(python: string, { url, apiKey, model }: Target): Promise<Outcome[]> {
  const { stdout } = await run(python, [join(here, "scenarios.py"), url, apiKey, model], { timeout: 60_000 });
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Outcome);
}
