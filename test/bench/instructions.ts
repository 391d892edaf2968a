import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";

/**
 * Counts the instructions of a process from now until the returned function is called, which resolves with them.
 * Undefined where the machine does not count any: virtual ones seldom do.
 */
export type CountInstructions = (pid: number) => () => Promise<number>;

/** Linux's `perf` where it is there, may be used, and finds a counter. */
export async function instructionCounter(): Promise<CountInstructions | undefined> {
  const trial = await promisify(execFile)("perf", [...statArguments, "true"]).catch(() => undefined);
  return trial && Number.isFinite(countIn(trial.stderr)) ? countOf : undefined;
}

const statArguments = ["stat", "-x", ",", "-e", "instructions"];

function countOf(pid: number): () => Promise<number> {
  const perf = spawn("perf", [...statArguments, "-p", String(pid)], { stdio: ["ignore", "ignore", "pipe"] });
  const said = text(perf.stderr);
  return async () => {
    perf.kill("SIGINT");
    if (perf.exitCode === null && perf.signalCode === null) await once(perf, "exit");
    return countIn(await said);
  };
}

/** The first field of its line; "<not supported>" is not a number. */
function countIn(output: string): number {
  return Number(/^([^,\n]*),[^,\n]*,instructions/m.exec(output)?.[1] ?? Number.NaN);
}
