/**
 * Writes test/rpc/gen/ from test/rpc/proto/: the contract that the transports are judged by. It declares methods without
 * a policy, which the workspace of the published contracts refuses: so it gets a workspace of its own.
 */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buf, root, writeValidateProto } from "./buf.ts";

const workspaceYaml = "version: v2\nmodules: [{ path: acceptance }, { path: proto }, { path: third_party }]\n";

/** Generates the acceptance contract's code below a folder. */
export function generateAcceptance(out: string): void {
  const workspace = mkdtempSync(join(tmpdir(), "weir-acceptance-"));
  try {
    writeFileSync(join(workspace, "buf.yaml"), workspaceYaml);
    writeValidateProto(workspace);
    cpSync(join(root, "proto/weir/policy"), join(workspace, "proto/weir/policy"), { recursive: true });
    cpSync(join(root, "test/rpc/proto"), join(workspace, "acceptance"), { recursive: true });
    buf(workspace, "generate", "--template", join(root, "test/rpc/buf.gen.yaml"), "--output", out);
  } finally {
    rmSync(workspace, { recursive: true, force: true });
  }
}
