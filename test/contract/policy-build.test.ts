import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { root } from "../../scripts/buf.ts";

let workspace: string;

beforeEach(() => {
  workspace = mkdtempSync(join(tmpdir(), "weir-contracts-"));
  cpSync(join(root, "buf.yaml"), join(workspace, "buf.yaml"));
  for (const folder of ["proto", "examples/notes/proto"]) {
    cpSync(join(root, folder), join(workspace, folder), { recursive: true });
  }
});

afterEach(() => {
  rmSync(workspace, { recursive: true });
});

test("the contracts as they are pass", () => {
  expect(check()).toMatchObject({ status: 0, stderr: "" });
});

test("a method without the policy option fails the build", () => {
  edit("weir/auth/v1/key_service.proto", /( rpc RevokeKey\([^{]*)\{[\s\S]*?\n {2}\}\n/, "$1{}\n");
  expect(check()).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("weir.auth.v1.KeyService.RevokeKey: has no (weir.policy.v1.method) option"),
  });
});

test("a policy that its own rules refuse fails the build", () => {
  edit("weir/auth/v1/key_service.proto", "audience: AUDIENCE_PUBLIC", "audience: AUDIENCE_UNSPECIFIED");
  expect(check()).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("weir.auth.v1.KeyService.CreateKey: its policy: audience"),
  });
});

function edit(path: string, from: string | RegExp, to: string): void {
  const file = join(workspace, "proto", path);
  const before = readFileSync(file, "utf8");
  const after = before.replace(from, to);
  expect(after).not.toBe(before);
  writeFileSync(file, after);
}

function check(): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/check-contracts.ts", workspace], {
    cwd: root,
    encoding: "utf8",
    timeout: 60_000,
  });
  // buf warns of imports that a small sample does not use.
  const problems = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("WARN"));
  return { status, stdout, stderr: problems.join("\n") };
}
