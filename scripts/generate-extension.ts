/**
 * Writes FOLDER/gen from the contracts in FOLDER/proto, which may import weir/ and buf/validate/:
 * `node scripts/generate-extension.ts FOLDER`. It refuses a contract that the runtime could not enforce: a method
 * without a policy, a field without a bound.
 */
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { buf, buildDescriptors, root } from "./buf.ts";
import { contractProblems } from "./contract-rules.ts";

const workspaceYaml = `
version: v2
modules: [{ path: extension }, { path: proto }, { path: third_party }]
lint: { use: [STANDARD, COMMENTS], ignore: [proto, third_party] }
`;

export interface ExtensionOptions {
  /** Where gen/ is written; the extension's own folder by default. */
  readonly out?: string;
  /** The contract is wrong on purpose: it tests what refuses it. */
  readonly unchecked?: boolean;
}

/** Generates an extension's TypeScript. Throws if there is no contract, or a bad one. */
export function generateExtension(folder: string, { out = folder, unchecked = false }: ExtensionOptions = {}): void {
  const proto = join(folder, "proto");
  if (!existsSync(proto)) throw new Error(`${proto} does not exist: that is where contracts are looked for`);
  const workspace = mkdtempSync(join(tmpdir(), "weir-extension-"));
  try {
    writeFileSync(join(workspace, "buf.yaml"), workspaceYaml);
    cpSync(join(root, "proto/weir"), join(workspace, "proto/weir"), { recursive: true });
    cpSync(proto, join(workspace, "extension"), { recursive: true });
    const registry = buildDescriptors(workspace);
    if (!unchecked) {
      const problems = contractProblems(registry);
      if (problems.length > 0) throw new Error(problems.join("\n"));
      lint(workspace);
    }
    buf(workspace, "generate", "--template", template(folder), "--output", out);
  } finally {
    rmSync(workspace, { recursive: true, force: true });
  }
}

function lint(workspace: string): void {
  try {
    buf(workspace, "lint");
  } catch (error) {
    // buf tells what it found on its standard output, which the error carries along.
    throw error instanceof Error && "stdout" in error ? new Error(String(error.stdout), { cause: error }) : error;
  }
}

/** Types of ours are imported from where this repository keeps them, and not generated a second time. */
function template(folder: string): string {
  const ours = relative(join(folder, "gen"), join(root, "gen/ts"));
  const opt = [
    "target=ts",
    "import_extension=ts",
    "erasable_syntax=true",
    "map_imports=buf/validate/:@bufbuild/protovalidate/gen",
    `map_imports=weir/:${ours}`,
  ];
  return JSON.stringify({
    version: "v2",
    clean: true,
    inputs: [{ directory: "extension" }],
    plugins: [{ local: "protoc-gen-es", out: "gen", opt }],
  });
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  try {
    if (folder === undefined) throw new Error("usage: node scripts/generate-extension.ts FOLDER");
    generateExtension(resolve(folder));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
