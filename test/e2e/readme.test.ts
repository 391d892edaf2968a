import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";
import { blockOf, codeBlocks } from "./code-blocks.ts";
import { findGo } from "./go-toolchain.ts";
import { installPythonClient } from "./python/python-client.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const blocks = codeBlocks(await readFile(join(root, "README.md"), "utf8"));
const go = await findGo();
const python = await installPythonClient();
/** A first build of Go compiles everything, on a machine that runs other suites. */
const timeout = 300_000;

let weir: WeirProcess;
let folder: string;
beforeAll(async () => {
  weir = await startWeirProcess();
  // In the clone, where the packages are found.
  await mkdir(join(root, ".cache"), { recursive: true });
  folder = await mkdtemp(join(root, ".cache/readme-"));
});
afterAll(async () => {
  await weir?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Runs a program of the README as it stands, but for the address. */
async function output(command: string, args: readonly string[], file: string, text: string): Promise<string> {
  expect(text).toContain("http://127.0.0.1:8080");
  const path = join(folder, file);
  await writeFile(path, text.replaceAll("http://127.0.0.1:8080", weir.url));
  const env = { ...process.env, WEIR_KEY: weir.key };
  const { stdout } = await run(command, [...args, path], { cwd: root, timeout, env });
  return stdout;
}

/** What every start has of its own. */
function withoutParticulars(banner: string): string {
  return banner
    .replaceAll(/:\d{2,5}\b/g, ":PORT")
    .replaceAll(/\d+\.\d+ s$/gm, "SECONDS")
    .replaceAll(/weir_[A-Za-z0-9]{12}_\S+/g, "KEY")
    .replaceAll(/\/\S*admin\.key/g, "FILE")
    .replaceAll(/-H 'Content-Type.*$/gm, "…")
    .trim();
}

test("a start prints what the README shows", () => {
  expect(withoutParticulars(weir.banner)).toBe(withoutParticulars(blockOf(blocks, "Start", "text")));
});

test("the request by curl is answered", { timeout }, async () => {
  const answer = JSON.parse(await output("sh", ["-e"], "chat.sh", blockOf(blocks, "One request", "sh", "curl")));
  expect(answer).toMatchObject({ object: "chat.completion", model: "weir-sim" });
  expect(answer.choices[0].message.content).not.toBe("");
});

test("the request in TypeScript is answered", { timeout }, async () => {
  const text = blockOf(blocks, "One request", "ts");
  expect((await output(process.execPath, [], "chat.ts", text)).trim()).not.toBe("");
});

test("the request in Python is answered", { timeout }, async ({ skip }) => {
  if ("missing" in python) return skip(python.missing);
  const text = blockOf(blocks, "One request", "python");
  expect((await output(python.python, [], "chat.py", text)).trim()).not.toBe("");
});

test("the request in Go is answered", { timeout }, async ({ skip }) => {
  if ("missing" in go) return skip(go.missing);
  const text = blockOf(blocks, "One request", "go");
  expect((await output(go.go, ["run"], "main.go", text)).trim()).not.toBe("");
});

test("the key of a team is made, and answers", { timeout }, async () => {
  const made = JSON.parse(await output("sh", ["-e"], "key.sh", blockOf(blocks, "A key for a team", "sh")));
  expect(made.key).toMatchObject({ name: "search team", permissions: ["models.invoke", "models.read"] });
  const headers = { authorization: `Bearer ${made.secret}` };
  const listed = await (await fetch(`${weir.url}/v1/models`, { headers })).json();
  expect(listed).toMatchObject({ data: [{ id: "weir-sim" }] });
});

test("a limit is made, and tells how full it is", { timeout }, async () => {
  const block = (holding: string) => blockOf(blocks, "Limits", "sh", holding);
  const made = JSON.parse(await output("sh", ["-e"], "limit.sh", block("CreateLimit")));
  expect(made.limit).toMatchObject({ orgId: "default", spec: { name: "600 a minute", count: "600" } });
  const { limits } = JSON.parse(await output("sh", ["-e"], "status.sh", block("GetLimitStatus")));
  expect(limits).toMatchObject([{ limit: { id: made.limit.id } }]);
});

test("every example of limits is accepted", { timeout }, async () => {
  const examples = codeBlocks(await readFile(join(root, "docs/limits.md"), "utf8"));
  expect(examples.length).toBeGreaterThan(3);
  for (const [index, { text }] of examples.entries()) {
    const answer = JSON.parse(await output("sh", ["-e"], `example-${index}.sh`, text));
    expect([text, answer]).toEqual([text, expect.not.objectContaining({ code: expect.anything() })]);
  }
});

test("what was used is listed", { timeout }, async () => {
  const text = blockOf(blocks, "What was used", "sh");
  const listed = async () => JSON.parse(await output("sh", ["-e"], "usage.sh", text)).records?.[0];
  // The requests of the tests before this one: the ledger has them soon after their end.
  await expect
    .poll(listed, { timeout: 10_000 })
    .toMatchObject({ model: "weir-sim", endReason: "END_REASON_COMPLETED" });
});
