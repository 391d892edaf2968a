import { readFileSync } from "node:fs";
import { banner } from "./banner.ts";
import { openDemo } from "./demo.ts";
import { modelIds } from "./model-ids.ts";
import { DataDirError } from "./runtime/assemble.ts";
import { systemClock } from "./runtime/clock.ts";
import { type EngineCommand, type Flags, parseFlags, usage } from "./runtime/config/flags.ts";
import { type Loaded, loadSettings } from "./runtime/config/load.ts";
import { ConfigError, formatProblem } from "./runtime/config/problem.ts";
import { bearAllYoung } from "./runtime/heap.ts";
import { createLog } from "./runtime/telemetry/log.ts";
import { openLogOutput } from "./log-output.ts";
import { orderEngine } from "./order-engine.ts";
import { probeEngine } from "./probe-engine.ts";
import { onStopSignal } from "./stop-signal.ts";
import { startWeir } from "./weir.ts";

/** EX_USAGE and EX_CONFIG of sysexits.h, which service managers do not restart on. */
const exitUsage = 64;
const exitConfig = 78;
/** How long running requests may take to end after SIGTERM. */
const drainMs = 30_000;

const startedMs = systemClock.monotonicMs();
bearAllYoung();

function quit(code: number, text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(code);
}

function flagsOfProcess(): Flags {
  const parsed = parseFlags(process.argv.slice(2));
  if ("problems" in parsed) return quit(exitUsage, `${parsed.problems.join("\n")}\n\n${usage}`);
  return parsed.flags;
}

function load(flags: Flags): Loaded {
  try {
    const loaded = loadSettings(flags);
    for (const warning of loaded.warnings) process.stderr.write(`warning: ${formatProblem(loaded.file, warning)}\n`);
    if (flags.command === "check") {
      process.stdout.write(`${loaded.file || "the command line"}: good\n`);
      process.exit(0);
    }
    return loaded;
  } catch (error) {
    if (error instanceof ConfigError) return quit(exitConfig, error.message);
    throw error;
  }
}

function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed ? String(parsed.version) : "unknown";
}

async function askEngine(command: EngineCommand, flags: Flags): Promise<void> {
  const {
    engines: [url = ""],
    engineKeyFile,
    engineKeyHeader,
    engineModel,
  } = flags;
  let engineKey: string | undefined;
  try {
    engineKey = engineKeyFile === undefined ? undefined : readFileSync(engineKeyFile, "utf8").trim();
  } catch (error) {
    return quit(exitUsage, `--engine-key-file: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (engineKey === "")
    return quit(
      exitUsage,
      `--engine-key-file: ${engineKeyFile} is empty; leave the flag out, or name a file with the key`,
    );
  const credential = { engineKey, engineKeyHeader };
  const found =
    command === "engines probe"
      ? await probeEngine(url, credential, systemClock)
      : await orderEngine({ command, url, engineModel }, credential, systemClock);
  if (found.kind === "failed") return quit(1, found.problem);
  process.stdout.write(found.report);
}

async function main(): Promise<void> {
  const flags = flagsOfProcess();
  if (flags.command === "help") {
    process.stdout.write(`${usage}\n`);
    return;
  }
  if (flags.command !== "start" && flags.command !== "check") return askEngine(flags.command, flags);
  const loaded = load(flags);
  const stopping = onStopSignal(systemClock);
  using output = openLogOutput();
  const log = createLog(loaded.settings.log.level, output.destination);
  await using demo = await openDemo(loaded, systemClock);
  const { settings } = demo;
  const weir = await startWeir({ settings, clock: systemClock, log });
  try {
    const { api, admin, mesh, assembled } = weir;
    const models = settings.roles.has("edge") ? await modelIds(assembled, systemClock) : undefined;
    process.stdout.write(
      banner({
        version: packageVersion(),
        readyMs: systemClock.monotonicMs() - startedMs,
        apiUrl: api && `http://${api.host}:${api.port}`,
        adminUrl: `http://${admin.host}:${admin.port}`,
        meshUrl: mesh && `http://${mesh.host}:${mesh.port}`,
        adminKeyFile: assembled.adminKey?.file,
        adminKey: assembled.adminKey?.key,
        models,
        demo: demo.simulated,
      }),
    );
    const signal = await stopping;
    log.info({ signal }, "stopping: running requests may end");
  } finally {
    await weir.stop(drainMs);
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    // What the operator can mend is said in a line; a defect shows where it is.
    const known =
      error instanceof DataDirError || (error instanceof Error && "code" in error && error.code === "EADDRINUSE");
    const text = error instanceof Error ? (known ? error.message : (error.stack ?? error.message)) : String(error);
    quit(1, text);
  },
);
