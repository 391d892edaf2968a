import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The Go command, or why there is none. */
export type Go = { readonly go: string } | { readonly missing: string };

/** Where the installer of go.dev puts it when it is not on the PATH. */
const places = ["go", "/usr/local/go/bin/go"];

/** Looks for Go. In CI its absence is an error. */
export async function findGo(): Promise<Go> {
  for (const go of places) {
    try {
      await run(go, ["version"]);
      return { go };
    } catch {
      // Not here: the next place, or none.
    }
  }
  const missing = "there is no Go on this machine (https://go.dev/dl, 1.26 or later)";
  if (process.env["CI"] === "true") throw new Error(missing);
  process.stderr.write(`\n!!! SKIPPED: ${missing}\n\n`);
  return { missing };
}
