/**
 * Compares the contracts with those of the newest release tag (v1.2.3), or with the first commit of proto/ while there is
 * none: `node scripts/check-breaking.ts`. Callers of what was released must not break.
 *
 * The old tree is laid out beside the git-ignored third_party/, which `buf breaking --against .git` would miss.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buf, root, writeValidateProto } from "./buf.ts";

const against = newestRelease() ?? firstCommitOfContracts();
if (against === undefined) {
  console.log(
    "SKIPPED: buf breaking: neither a release tag nor a commit of proto/ (is this a shallow clone or no clone?)",
  );
} else {
  compareWith(against);
}

function compareWith(commit: string): void {
  const old = mkdtempSync(join(tmpdir(), "weir-contracts-"));
  try {
    const archive = execFileSync("git", ["archive", commit, "proto"], { cwd: root, maxBuffer: 64 * 1024 * 1024 });
    execFileSync("tar", ["-x", "-C", old], { input: archive });
    // Today's rules and modules: two workspaces are compared only if they have the same ones.
    cpSync(join(root, "buf.yaml"), join(old, "buf.yaml"));
    // An example may change as it likes: today's stands on both sides.
    cpSync(join(root, "examples/notes/proto"), join(old, "examples/notes/proto"), { recursive: true });
    writeValidateProto(old);
    writeValidateProto(root);
    process.stdout.write(buf(root, "breaking", "--against", old));
    console.log(`contracts: nothing that callers of ${commit} rely on has changed`);
  } catch (error) {
    // buf has told what breaks on its standard output, which an error carries along.
    if (!(error instanceof Error && "stdout" in error)) throw error;
    console.error(String(error.stdout));
    console.error(`the contracts break callers of ${commit}`);
    process.exitCode = 1;
  } finally {
    rmSync(old, { recursive: true });
  }
}

function newestRelease(): string | undefined {
  return gitLines("tag", "--list", "v[0-9]*", "--sort=-version:refname", "--merged", "HEAD").at(0);
}

function firstCommitOfContracts(): string | undefined {
  return gitLines("log", "--format=%H", "--", "proto/weir").at(-1);
}

function gitLines(...args: string[]): string[] {
  try {
    const output = execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return output.split("\n").filter((line) => line !== "");
  } catch {
    // No repository (an unpacked archive) or no commit yet: there is nothing to compare with.
    return [];
  }
}
