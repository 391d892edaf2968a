import { execFile, spawn } from "node:child_process";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { openFolder } from "../fakes/open-folder.ts";
import { startWeirProcess } from "../fakes/weir-process.ts";

const root = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);
const folders: string[] = [];

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function freshFolder(): Promise<string> {
  const folder = await openFolder("weir-start-");
  folders.push(folder);
  return folder;
}

/** The processes whose command line names the folder: PostgreSQL's, on its cluster. */
async function processesOf(folder: string): Promise<readonly number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      // A process that ended meanwhile has no command line.
      const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      return line.includes(folder) ? [pid] : [];
    }),
  );
  return found.flat();
}

const chat = (url: string, key: string) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "weir-sim", messages: [{ role: "user", content: "Hello!" }], max_tokens: 4 }),
  });

/** Runs the program and waits for its end. */
async function runMain(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(root, "services/main.ts"), ...args], { env: { ...process.env, ...env } });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  const code = await new Promise<number | null>((settle) => child.once("exit", settle));
  return { code, out, err };
}

describe("a start", () => {
  it("makes a key that works, and the next start keeps it, is ready within 5 s and shows the key no more", async () => {
    const dataDir = join(await freshFolder(), "data");
    let key = "";
    {
      await using first = await startWeirProcess({ dataDir });
      key = first.key;
      expect(first.banner).toContain(key);
      expect(first.banner).toContain("DEMO");
      expect((await stat(join(dataDir, "admin.key"))).mode & 0o777).toBe(0o600);
      expect((await chat(first.url, key)).status).toBe(200);
    }
    await using second = await startWeirProcess({ dataDir });
    expect(second.key).toBe(key);
    expect(second.banner).not.toContain(key);
    expect(second.readyMs).toBeLessThan(5_000);
    expect((await chat(second.url, key)).status).toBe(200);
  }, 60_000);

  it("prints a curl line that works as it is pasted", async () => {
    await using weir = await startWeirProcess();
    const line = /^ +(curl .*)$/m.exec(weir.banner)?.[1] ?? "";
    const { stdout } = await run("sh", ["-c", line]);
    expect(JSON.parse(stdout)).toMatchObject({ object: "chat.completion", model: "weir-sim" });
  }, 60_000);

  it("on a folder that another one uses says so and ends", async () => {
    await using weir = await startWeirProcess();
    const second = await runMain(["--port", "0", "--admin-port", "0", "--data-dir", weir.dataDir]);
    expect(second.code).toBe(1);
    expect(second.err).toContain(`another Weir (pid ${weir.pid})`);
    expect((await chat(weir.url, weir.key)).status).toBe(200);
  }, 60_000);

  it("on a port that is taken says so and ends, without an orphan", async () => {
    await using weir = await startWeirProcess();
    const dataDir = join(await freshFolder(), "data");
    const second = await runMain(["--port", new URL(weir.url).port, "--admin-port", "0", "--data-dir", dataDir]);
    expect(second.code).toBe(1);
    expect(second.err).toContain("EADDRINUSE");
    expect(await processesOf(dataDir)).toEqual([]);
  }, 60_000);

  it("with a wrong configuration says everything that is wrong and ends with 78", async () => {
    const file = join(await freshFolder(), "weir.yaml");
    await writeFile(file, "modles: []\npools:\n  - id: gpu\n    replicas: [{ url: 5 }]\n");
    const { code, err } = await runMain(["--config", file]);
    expect(code).toBe(78);
    expect(err).toMatch(/weir\.yaml:1: modles: unknown key/);
    expect(err).toMatch(/weir\.yaml:4: pools\[0\]\.replicas\[0\]\.url: /);
  });

  it("with wrong flags says so and ends with 64", async () => {
    const { code, err } = await runMain(["--config", "a", "--engine", "b:1", "--port", "x"]);
    expect(code).toBe(64);
    expect(err).toContain("--engine and --config");
    expect(err).toContain("--port x");
  });

  it("checks a configuration without starting", async () => {
    const { code, out } = await runMain(["check", "--config", join(root, "weir.reference.yaml")]);
    expect([code, out]).toEqual([0, "weir.reference.yaml: good\n"]);
  });
});

describe("an end", () => {
  it.each(["SIGTERM", "SIGINT"] as const)(
    "by %s is clean: exit code 0, no PostgreSQL left",
    async (signal) => {
      const dataDir = join(await freshFolder(), "data");
      const weir = await startWeirProcess({ dataDir });
      // Weir itself, and PostgreSQL on its cluster.
      expect((await processesOf(dataDir)).length).toBeGreaterThan(1);
      weir.kill(signal);
      expect(await weir.exited).toBe(0);
      expect(await processesOf(dataDir)).toEqual([]);
    },
    60_000,
  );

  it("lets a stream that runs come to its end", async () => {
    const weir = await startWeirProcess();
    const response = await fetch(`${weir.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: "weir-sim",
        messages: [{ role: "user", content: "Hello!" }],
        max_tokens: 30,
        stream: true,
        ignore_eos: true,
      }),
    });
    const reader = response.body?.getReader();
    await reader?.read();
    weir.kill("SIGTERM");
    let text = "";
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read())
      text += Buffer.from(next.value).toString();
    expect(text).toContain("data: [DONE]");
    expect(await weir.exited).toBe(0);
    await weir[Symbol.asyncDispose]();
  }, 60_000);

  it("by kill -9 is recovered from by the next start", async () => {
    const dataDir = join(await freshFolder(), "data");
    const first = await startWeirProcess({ dataDir });
    first.kill("SIGKILL");
    await first.exited;
    await using second = await startWeirProcess({ dataDir });
    expect(second.key).toBe(first.key);
    expect((await chat(second.url, second.key)).status).toBe(200);
  }, 60_000);

  it("of PostgreSQL by kill -9 stops no known key, and it comes back by itself", async () => {
    const dataDir = join(await freshFolder(), "data");
    await using weir = await startWeirProcess({ dataDir });
    expect((await chat(weir.url, weir.key)).status).toBe(200);
    const pidFile = join(dataDir, "postgres/cluster/postmaster.pid");
    process.kill(Number((await readFile(pidFile, "utf8")).split("\n")[0]), "SIGKILL");
    expect((await chat(weir.url, weir.key)).status).toBe(200);
    const listKeys = () =>
      fetch(`${weir.url}/weir.auth.v1.KeyService/ListKeys`, {
        method: "POST",
        headers: { authorization: `Bearer ${weir.key}`, "content-type": "application/json" },
        body: "{}",
      });
    await expect.poll(async () => (await listKeys()).status, { timeout: 20_000, interval: 200 }).toBe(200);
  }, 60_000);
});

describe("npm start", () => {
  it("ends cleanly when npm itself is told to", async () => {
    const dataDir = join(await freshFolder(), "data");
    const child = spawn("npm", ["start", "--", "--port", "0", "--admin-port", "0", "--data-dir", dataDir], {
      cwd: root,
    });
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    await expect.poll(() => out, { timeout: 60_000 }).toMatch(/Models +weir-sim/);
    child.kill("SIGTERM");
    await new Promise((settle) => child.once("exit", settle));
    await expect.poll(() => processesOf(dataDir), { timeout: 10_000 }).toEqual([]);
  }, 90_000);
});
