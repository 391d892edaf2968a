import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";
import { findGo } from "./go-toolchain.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const found = await findGo();
const skip = "missing" in found;
const go = "go" in found ? found.go : "";
const why = "missing" in found ? ` [SKIPPED: ${found.missing}]` : "";
/** A first build compiles grpc-go, on a machine that runs other suites. */
const buildTimeoutMs = 300_000;

let weir: WeirProcess;
beforeAll(async () => {
  if (!skip) weir = await startWeirProcess();
});
afterAll(() => weir?.[Symbol.asyncDispose]());

// connect-go speaking Connect, connect-go speaking gRPC, and grpc-go.
test.skipIf(skip).each(["connect", "connect-grpc", "grpc"])(
  `a Go program makes a key, streams with it and sees it revoked, over %s${why}`,
  { timeout: buildTimeoutMs },
  async (protocol) => {
    const flags = ["-url", weir.url, "-key", weir.key, "-model", "weir-sim", "-protocol", protocol];
    const { stdout } = await run(go, ["run", "./test/go", ...flags], { cwd: root, timeout: buildTimeoutMs });
    expect(stdout.trim()).not.toBe("");
  },
);
