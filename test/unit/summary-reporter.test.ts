import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-summary-"));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const head = 'import { expect, test } from "vitest";\n';

test.each([
  ["only passes", 'test("a", () => {}); test("b", () => {});', 0, "2 passed, 0 failed"],
  ["a failure", 'test("a", () => {}); test("b", () => { expect(1).toBe(2); });', 1, "1 passed, 1 failed"],
  ["a file that does not load", 'throw new Error("no");', 1, "0 passed, 1 failed"],
  [
    "an error outside every test",
    'test("a", () => { void Promise.reject(new Error("x")); });',
    1,
    "1 passed, 1 failed",
  ],
  ["a skip", 'test("a", () => {}); test.skip("b", () => {});', 0, "1 passed, 0 failed, 1 skipped"],
])("%s is counted", (_name, text, status, last) => {
  const run = runSuite(text);
  expect(run.lines.at(-1)).toBe(last);
  expect(run.status).toBe(status);
});

test("every skip is named with its reason", () => {
  const { lines } = runSuite(
    'test("needs a GPU", (context) => context.skip("this machine has none")); test.todo("later");',
  );
  expect(lines).toContain("SKIPPED: sample.test.ts > needs a GPU: this machine has none");
  expect(lines).toContain("SKIPPED: sample.test.ts > later: not written");
});

test("a run without tests fails", () => {
  const run = runSuite(undefined);
  expect(run.lines).toContain("0 passed, 1 failed");
  expect(run.status).toBe(1);
});

function runSuite(text: string | undefined): { status: number | null; lines: string[] } {
  if (text !== undefined) writeFileSync(join(folder, "sample.test.ts"), head + text);
  const args = ["run", "--root", folder, "--reporter", join(root, "scripts/summary-reporter.ts")];
  const { status, stdout } = spawnSync(join(root, "node_modules/.bin/vitest"), args, {
    cwd: folder,
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, lines: stdout.trimEnd().split("\n") };
}
