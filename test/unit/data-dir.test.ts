import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type DataDir, openDataDir } from "../../services/runtime/data-dir.ts";
import { readOrCreateSecret, writeDurably } from "../../services/runtime/durable-file.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-data-dir-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function opened(path: string): Promise<DataDir> {
  const outcome = await openDataDir(path);
  if (outcome.kind !== "opened") throw new Error(outcome.message);
  return outcome;
}

const modeOf = async (path: string) => (await stat(path)).mode & 0o777;

test("a missing folder is made private; an existing one keeps its mode", async () => {
  const path = join(folder, "a folder", "data");
  await using made = await opened(path);
  expect([made.created, await modeOf(path)]).toEqual([true, 0o700]);

  const existing = join(folder, "existing");
  await mkdir(existing);
  await chmod(existing, 0o755);
  await using found = await opened(existing);
  expect([found.created, await modeOf(existing)]).toEqual([false, 0o755]);
});

test("a folder has one owner at a time, by whichever name it goes", async () => {
  const path = join(folder, "data");
  const first = await opened(path);
  await symlink(path, join(folder, "other-name"));
  for (const name of ["data", "other-name"]) {
    expect(await openDataDir(join(folder, name))).toEqual({
      kind: "in_use",
      pid: process.pid,
      message: `another Weir (pid ${process.pid}) uses ${first.path}; stop it or name another --data-dir`,
    });
  }
  await first[Symbol.asyncDispose]();
  await using second = await opened(path);
  expect(second.created).toBe(false);
});

test("of many that open a folder at once, one gets it", async () => {
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => openDataDir(join(folder, "data"))));
  const winners = outcomes.filter((outcome) => outcome.kind === "opened");
  expect(winners).toHaveLength(1);
  await winners[0]?.[Symbol.asyncDispose]();
});

test.each([
  ["a file", "x/data"],
  ["below a file", "x"],
])("what is %s is no data folder, and the message says what to do", async (_name, file) => {
  await mkdir(join(folder, file, ".."), { recursive: true });
  await writeFile(join(folder, file), "");
  expect(await openDataDir(join(folder, "x", "data"))).toMatchObject({
    kind: "unusable",
    message: expect.stringMatching(/^cannot use .*x\/data as data folder .*--data-dir$/),
  });
});

test("a secret is made once, private, and the same for all who ask", async () => {
  const path = join(folder, "secret");
  const all = await Promise.all(Array.from({ length: 10 }, () => readOrCreateSecret(path)));
  expect(new Set(all).size).toBe(1);
  expect(all[0]).toMatch(/^[\w-]{43}$/);
  expect(await readOrCreateSecret(path)).toBe(all[0]);
  expect(await modeOf(path)).toBe(0o600);
  expect(await readdir(folder)).toEqual(["secret"]);
});

test("an empty secret is not replaced behind the back of those who rely on it", async () => {
  const path = join(folder, "secret");
  await writeFile(path, "\n");
  await expect(readOrCreateSecret(path)).rejects.toThrow(/is empty; restore it, or remove it/);
});

test("a durable write replaces text and mode, and leaves no other file", async () => {
  const path = join(folder, "admin.key");
  await writeFile(path, "old", { mode: 0o644 });
  await writeDurably(path, "new", 0o600);
  expect([await readFile(path, "utf8"), await modeOf(path), await readdir(folder)]).toEqual([
    "new",
    0o600,
    ["admin.key"],
  ]);
});
