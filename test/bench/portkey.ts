import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { end, freePort, listening, type Measured, root, spawnOn } from "./processes.ts";

const version = "1.15.2";
/** Its range takes in later ones, with which streams fail. */
const serverVersion = "1.14.1";

const folder = join(root, ".cache/bench/portkey");
const modules = join(folder, "node_modules");
const script = join(modules, "@portkey-ai/gateway/build/start-server.js");

/** Portkey's gateway, fetched into a folder of its own. Throws where it cannot be had. */
export async function startPortkey(): Promise<Measured> {
  if (!isInstalled()) await install();
  const port = await freePort();
  const child = spawnOn("measured", [process.execPath, script, "--headless", `--port=${port}`], { cwd: folder });
  await listening(child, port);
  return {
    pid: child.pid ?? 0,
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => end(child),
  };
}

/** The headers that send a request on to an upstream. */
export function portkeyHeaders(upstreamUrl: string): Readonly<Record<string, string>> {
  const config = { provider: "openai", custom_host: `${upstreamUrl}/v1`, api_key: "none" };
  return { "x-portkey-config": JSON.stringify(config) };
}

function isInstalled(): boolean {
  return (
    existsSync(script) &&
    versionOf("@portkey-ai/gateway") === version &&
    versionOf("@hono/node-server") === serverVersion
  );
}

function versionOf(name: string): string {
  const { version: found } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
  return String(found);
}

async function install(): Promise<void> {
  console.log(`Fetching @portkey-ai/gateway ${version} into ${folder} ...`);
  await mkdir(folder, { recursive: true });
  const manifest = {
    private: true,
    dependencies: { "@portkey-ai/gateway": version },
    overrides: { "@hono/node-server": serverVersion },
  };
  await writeFile(join(folder, "package.json"), JSON.stringify(manifest));
  await promisify(execFile)("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder });
}
