import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** An engine that the tests can run for real. */
export type EngineName = "triton" | "llamacpp" | "vllm" | "tgis";

/** `folder` holds the installed engine; `reason` says what is missing and what to do about it. */
export type Installation = { kind: "ready"; folder: string } | { kind: "missing"; reason: string };

const here = dirname(fileURLToPath(import.meta.url));
const cache = join(here, "..", "..", ".cache", "engines");

/** Everything that decides what gets installed: a change in any of them makes a new folder. */
const sources: Record<EngineName, readonly string[]> = {
  triton: ["venv.sh", "triton/install.sh", "triton/requirements.txt"],
  llamacpp: [
    "venv.sh",
    "llamacpp/install.sh",
    "llamacpp/requirements.txt",
    "llamacpp/make_model.py",
    "llamacpp/corpus.txt",
  ],
  vllm: ["venv.sh", "vllm-metadata.sh", "vllm/install.sh", "vllm/requirements.txt", "vllm/take_binary.py"],
  tgis: ["venv.sh", "vllm-metadata.sh", "tgis/install.sh", "tgis/requirements.txt"],
};

/** A first install takes 10 to 30 s, of vLLM some minutes; a slow mirror or another that installs gets this much. */
const installTimeoutMs = 1_200_000;

const installing = new Map<EngineName, Promise<Installation>>();

/**
 * Installs an engine below `.cache/engines` unless it is there already (then this takes a millisecond). Calls from
 * several processes wait for one another. Never throws for a machine that cannot run the engine: that is `missing`.
 */
export function installEngine(name: EngineName): Promise<Installation> {
  const known = installing.get(name);
  if (known !== undefined) return known;
  const started = install(name);
  installing.set(name, started);
  return started;
}

async function install(name: EngineName): Promise<Installation> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return {
      kind: "missing",
      reason: `${name} is packaged for linux-x64, this is ${process.platform}-${process.arch}`,
    };
  }
  const folder = join(cache, `${name}-${await pinsHash(name)}`);
  const stamp = join(folder, "installed");
  if (existsSync(stamp)) return { kind: "ready", folder };

  await mkdir(folder, { recursive: true });
  // flock's lock dies with its holder, so a killed install never blocks the next one.
  const script = join(here, name, "install.sh");
  const command = `[ -f "$2" ] || { sh "$1" "$3" && touch "$2"; }`;
  const outcome = await run("flock", [join(cache, `${name}.lock`), "sh", "-c", command, "sh", script, stamp, folder]);
  await writeFile(join(folder, "install.log"), outcome.output);
  if (outcome.code === 0) return { kind: "ready", folder };
  const lastLines = outcome.output.trimEnd().split("\n").slice(-3).join(" / ");
  return { kind: "missing", reason: `${name} could not be installed (${outcome.code}): ${lastLines}` };
}

async function pinsHash(name: EngineName): Promise<string> {
  const hash = createHash("sha256");
  for (const file of sources[name]) hash.update(await readFile(join(here, file)));
  return hash.digest("hex").slice(0, 12);
}

function run(command: string, args: string[]): Promise<{ code: number | string; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: installTimeoutMs });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (bytes: Buffer) => {
        output = (output + bytes.toString()).slice(-100_000);
      });
    }
    child.on("error", (error) => resolve({ code: "not started", output: error.message }));
    child.on("close", (code, signal) => resolve({ code: code ?? signal ?? "ended", output }));
  });
}

if (import.meta.main) {
  for (const name of ["triton", "llamacpp"] as const) {
    const outcome = await installEngine(name);
    console.log(`${name}: ${outcome.kind === "ready" ? outcome.folder : outcome.reason}`);
    if (outcome.kind === "missing") process.exitCode = 1;
  }
}
