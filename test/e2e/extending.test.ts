import { execFile } from "node:child_process";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openFolder } from "../fakes/open-folder.ts";
import { startWeirProcess } from "../fakes/weir-process.ts";
import { blockOf, codeBlocks } from "./code-blocks.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const blocks = codeBlocks(await readFile(join(root, "docs/extending.md"), "utf8"));
const walk = "From an empty folder to a running service";
const timeout = 90_000;

let clone: string;
beforeAll(async () => {
  clone = await openFolder("weir-extending-");
  for (const name of ["gen", "node_modules", "package.json", "proto", "scripts", "services"]) {
    await symlink(join(root, name), join(clone, name));
  }
});
afterAll(() => rm(clone, { recursive: true, force: true }));

/** Writes the block that begins with a comment that names its file. */
async function writeBlock(language: string): Promise<void> {
  const text = blockOf(blocks, walk, language);
  const path = /^(?:\/\/|#) (\S+)\n/.exec(text)?.[1];
  if (path === undefined) throw new Error(`the block of ${language} does not name its file`);
  await mkdir(dirname(join(clone, path)), { recursive: true });
  await writeFile(join(clone, path), text);
}

const shell = (text: string) => run("sh", ["-ec", text], { cwd: clone, timeout });

test("the walk leads from an empty folder to an answer", { timeout: 2 * timeout }, async () => {
  await writeBlock("proto");
  await shell(blockOf(blocks, walk, "sh", "generate-extension"));
  await writeBlock("ts");
  await writeBlock("yaml");
  await using weir = await startWeirProcess({
    args: ["--config", join(clone, "weir.yaml"), "--port", "0", "--admin-port", "0"],
    dataDir: join(clone, "data"),
  });
  const calls = blockOf(blocks, walk, "sh", "HelloService").replaceAll("http://127.0.0.1:8080", weir.url);
  const { stdout } = await shell(calls);
  expect(stdout).toBe('{"greeting":"Hello Ada, from project default"}');
});

test("a method without a policy gets no code", { timeout }, async () => {
  const contract = blockOf(blocks, walk, "proto").replace(/ {4}option \(weir[\s\S]*?\n {4}\};\n/, "");
  const path = join(clone, "undeclared/proto/hello/v1/hello.proto");
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, contract);
  const refused = await shell("npx node scripts/generate-extension.ts undeclared").then(
    () => "",
    (error: unknown) => (error instanceof Error && "stderr" in error ? String(error.stderr) : ""),
  );
  expect(refused).toContain("hello.v1.HelloService.Greet: has no (weir.policy.v1.method) option");
});
