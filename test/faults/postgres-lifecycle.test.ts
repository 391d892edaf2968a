import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { run } from "../../services/runtime/postgres/command.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../services/runtime/postgres/embedded.ts";
import { present } from "../fakes/present.ts";
import { copyRuntimeTree } from "./copied-tree.ts";
import { type Owner, type OwnerReport, processesOn, startOwner } from "./owner-process.ts";

const isRoot = process.getuid?.() === 0;
let root: string;
let firstCluster: string;
let owners: Owner[] = [];

beforeAll(async () => {
  root = await mkdtemp("/tmp/weir-faults-");
  await chmod(root, 0o755);
  firstCluster = await makeFirstCluster();
});

afterEach(() => {
  for (const owner of owners) if (owner.process.exitCode === null) owner.process.kill("SIGKILL");
  owners = [];
});

afterAll(async () => {
  for (const pid of processesOn(root)) process.kill(pid, "SIGKILL");
  await vi.waitUntil(() => processesOn(root).length === 0, { timeout: 10_000 });
  await rm(root, { recursive: true, force: true });
});

/** A data folder that was started and stopped once; tests copy it, which is cheaper than another initdb. */
async function makeFirstCluster(): Promise<string> {
  const dataDir = join(root, "first");
  const { owner, ready } = await startReady(dataDir);
  await query(ready.url, "create table note (text text)");
  await query(ready.url, "insert into note values ('kept')");
  expect(await owner.end("SIGTERM")).toEqual({ code: 0, signal: null });
  return dataDir;
}

async function copyOfFirst(name: string): Promise<string> {
  const dataDir = join(root, name);
  expect((await run("cp", ["-a", firstCluster, dataDir])).code).toBe(0);
  return dataDir;
}

function own(options: { dataDir: string; root?: string; user?: { uid: number; gid: number } }): Owner {
  const owner = startOwner({ sharedRoot: join(root, "shared"), ...options });
  owners.push(owner);
  return owner;
}

async function startReady(dataDir: string, options: { root?: string; user?: { uid: number; gid: number } } = {}) {
  const owner = own({ dataDir, ...options });
  return { owner, ready: readyFrom(await owner.outcome) };
}

function readyFrom(report: OwnerReport) {
  return report.ready ?? expect.fail(`not ready: ${JSON.stringify(report)}`);
}

async function query(url: string, statement: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    return (await client.query({ text: statement, rowMode: "array" })).rows;
  } finally {
    await client.end();
  }
}

const notes = (url: string) => query(url, "select text from note");
const kept = [["kept"]];

async function inThisProcess(dataDir: string): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({
    dataDir: { path: dataDir, created: false },
    sharedRoot: join(root, "shared"),
    clock: systemClock,
    log: pino({ level: "silent" }),
  });
}

describe("starting and stopping", () => {
  test("a second start keeps the rows, syncs to disk and serves nothing but a private socket", async () => {
    const dataDir = await copyOfFirst("second");
    const { owner, ready } = await startReady(dataDir);
    expect(await notes(ready.url)).toEqual(kept);
    const setting = (name: string) => query(ready.url, `show ${name}`);
    expect(await setting("fsync")).toEqual([["on"]]);
    expect(await setting("server_encoding")).toEqual([["UTF8"]]);
    expect(await setting("listen_addresses")).toEqual([[""]]);
    expect((await stat(decodeURIComponent(new URL(ready.url).host))).mode & 0o777).toBe(0o700);
    await owner.end("SIGTERM");
  });

  test("SIGTERM ends PostgreSQL before the owner, after the owner's last write", async () => {
    const dataDir = await copyOfFirst("sigterm");
    const { owner } = await startReady(dataDir);
    expect(await owner.end("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(processesOn(dataDir)).toEqual([]);
    const again = await startReady(dataDir);
    // The owner that made the first cluster wrote one, too.
    expect(await query(again.ready.url, "select count(*)::int from goodbye")).toEqual([[2]]);
    await again.owner.end("SIGTERM");
  });

  test("Ctrl-C, which reaches the whole process group, leaves PostgreSQL up for the owner's last write", async () => {
    const dataDir = await copyOfFirst("ctrl-c");
    const { owner } = await startReady(dataDir);
    const exited = once(owner.process, "exit");
    process.kill(-present(owner.process.pid), "SIGINT");
    expect(await exited).toEqual([0, null]);
    expect(owner.reports.filter((report) => report.failed !== undefined)).toEqual([]);
    expect(processesOn(dataDir)).toEqual([]);
  });

  test("a signal during the start leaves nothing running", async () => {
    const dataDir = join(root, "aborted");
    const owner = own({ dataDir });
    await expect.poll(() => processesOn(join(dataDir, "postgres")).length, { interval: 5 }).toBeGreaterThan(0);
    expect(await owner.end("SIGTERM")).toEqual({ code: 1, signal: null });
    await expect.poll(() => processesOn(join(dataDir, "postgres"))).toEqual([]);
  });

  test("a path too long for a socket gets a short one", async () => {
    const deep = join(root, "d".repeat(60), "e".repeat(60));
    await mkdir(deep, { recursive: true });
    const dataDir = join(deep, "data");
    expect((await run("cp", ["-a", firstCluster, dataDir])).code).toBe(0);
    const { owner, ready } = await startReady(dataDir);
    const socketFolder = decodeURIComponent(new URL(ready.url).host);
    expect(socketFolder).toMatch(/^\/tmp\/weir-\w+$/);
    expect(await notes(ready.url)).toEqual(kept);
    await owner.end("SIGTERM");
    await expect(stat(socketFolder)).rejects.toThrow("ENOENT");
  });

  test("a cluster that PostgreSQL cannot start on is reported with PostgreSQL's own words", async () => {
    const dataDir = await copyOfFirst("broken");
    await writeFile(join(dataDir, "postgres", "cluster", "PG_VERSION"), "9.1\n");
    await expect(inThisProcess(dataDir)).rejects.toThrow(/did not start.*incompatible/);
    expect(processesOn(dataDir)).toEqual([]);
  });
});

describe("deaths", () => {
  test("PostgreSQL killed while we run is started again, with its rows, at the same address", async () => {
    const dataDir = await copyOfFirst("postgres-killed");
    const server = await inThisProcess(dataDir);
    const { url } = server;
    const pids = [server.pid()];
    for (let round = 0; round < 2; round += 1) {
      process.kill(present(server.pid()), "SIGKILL");
      await expect.poll(() => server.state(), { interval: 1 }).toBe("restarting");
      await expect.poll(() => server.state(), { timeout: 10_000 }).toBe("ready");
      expect(await notes(url)).toEqual(kept);
      expect(pids).not.toContain(server.pid());
      pids.push(server.pid());
    }
    await server[Symbol.asyncDispose]();
    expect(await server.exited).toEqual({ reason: "stopped" });
    expect(server.state()).toBe("ended");
    expect(processesOn(dataDir)).toEqual([]);
  });

  test("stopping while PostgreSQL is being started again leaves nothing running", async () => {
    const dataDir = await copyOfFirst("stopped-in-restart");
    const server = await inThisProcess(dataDir);
    process.kill(present(server.pid()), "SIGKILL");
    await expect.poll(() => server.state(), { interval: 1 }).toBe("restarting");
    await server[Symbol.asyncDispose]();
    expect(await server.exited).toEqual({ reason: "stopped" });
    await expect.poll(() => processesOn(dataDir)).toEqual([]);
  });

  test("PostgreSQL of a killed owner is stopped and started anew, with its rows", async () => {
    const dataDir = await copyOfFirst("owner-killed");
    const first = await startReady(dataDir);
    await query(first.ready.url, "insert into note values ('written before the kill')");
    await first.owner.end("SIGKILL");
    expect(processesOn(dataDir)).toContain(first.ready.pid);
    const second = await startReady(dataDir);
    expect(second.ready.pid).not.toBe(first.ready.pid);
    expect(processesOn(dataDir)).not.toContain(first.ready.pid);
    expect(await notes(second.ready.url)).toEqual([...kept, ["written before the kill"]]);
    await second.owner.end("SIGTERM");
    expect(processesOn(dataDir)).toEqual([]);
  });

  test("after both were killed the next start replays the log", async () => {
    const dataDir = await copyOfFirst("both-killed");
    const first = await startReady(dataDir);
    await query(first.ready.url, "insert into note values ('in the log only')");
    await first.owner.end("SIGKILL");
    process.kill(first.ready.pid, "SIGKILL");
    const second = await startReady(dataDir);
    expect(await notes(second.ready.url)).toEqual([...kept, ["in the log only"]]);
    await second.owner.end("SIGTERM");
  });

  test("a process id in postmaster.pid that now is another program's does no harm, to either", async () => {
    const dataDir = await copyOfFirst("pid-reused");
    const cluster = join(dataDir, "postgres", "cluster");
    // PostgreSQL looks away from other users' processes by itself.
    const { uid, gid } = await stat(cluster);
    const stranger = spawn("sleep", ["300"], { uid, gid });
    await once(stranger, "spawn");
    const pidFile = [stranger.pid, cluster, "1700000000", "5432", "/nowhere", "", "1 1", "ready"].join("\n");
    await writeFile(join(cluster, "postmaster.pid"), pidFile);
    const { owner, ready } = await startReady(dataDir);
    expect(await notes(ready.url)).toEqual(kept);
    expect(stranger.exitCode).toBeNull();
    stranger.kill();
    await owner.end("SIGTERM");
  });

  test("a first start that was killed half-way is done again", async () => {
    const dataDir = join(root, "killed-in-initdb");
    const first = own({ dataDir });
    await expect.poll(() => processesOn(`${dataDir}/postgres/cluster.new-`).length, { interval: 5 }).toBeGreaterThan(0);
    await first.end("SIGKILL");
    const { owner, ready } = await startReady(dataDir);
    expect(await query(ready.url, "select 1")).toEqual([[1]]);
    await owner.end("SIGTERM");
  });
});

describe("who may be where", () => {
  test("a second owner of a data folder is told who has it", async () => {
    const dataDir = await copyOfFirst("two-owners");
    const { owner } = await startReady(dataDir);
    expect(await own({ dataDir }).outcome).toEqual({
      refused: `another Weir (pid ${owner.process.pid}) uses ${dataDir}; stop it or name another --data-dir`,
    });
    await owner.end("SIGTERM");
  });

  test.runIf(isRoot)("below a private folder of root's the database is kept elsewhere, and found again", async () => {
    const home = join(root, "home");
    await mkdir(home, { mode: 0o700 });
    const dataDir = join(home, "data");
    const first = await startReady(dataDir);
    expect(first.ready.folder).toMatch(new RegExp(`^${root}/shared/data-[0-9a-f]{12}$`));
    await query(first.ready.url, "create table note as select 'kept' as text");
    await first.owner.end("SIGTERM");
    const second = await startReady(dataDir);
    expect(second.ready.folder).toBe(first.ready.folder);
    expect(await notes(second.ready.url)).toEqual(kept);
    expect((await stat(home)).mode & 0o777).toBe(0o700);
    expect(await readFile(join(first.ready.folder, "data-folder"), "utf8")).toBe(`${dataDir}\n`);

    // A copy of the data folder names the same database.
    await cp(dataDir, join(root, "copied-data"), { recursive: true });
    expect(await own({ dataDir: join(root, "copied-data") }).outcome).toEqual({
      failed: expect.stringContaining(`another Weir uses the database in ${first.ready.folder}`),
    });
    await second.owner.end("SIGTERM");
  });

  test.runIf(isRoot)("a whole clone below a private folder of root's starts", async () => {
    const home = join(root, "private");
    await mkdir(home, { mode: 0o700 });
    await copyRuntimeTree(join(home, "clone"));
    const dataDir = await copyOfFirst("private-programs");
    const { owner, ready } = await startReady(dataDir, { root: join(home, "clone") });
    expect(await notes(ready.url)).toEqual(kept);
    const commandLine = await readFile(`/proc/${ready.pid}/cmdline`, "utf8");
    expect(commandLine.startsWith(join(root, "shared", "postgresql-"))).toBe(true);
    await owner.end("SIGTERM");
    expect((await stat(home)).mode & 0o777).toBe(0o700);
  });

  test.runIf(isRoot)("a user who is not root runs PostgreSQL as itself, and root can follow", async () => {
    const home = join(root, "of-nobody");
    await mkdir(home, { mode: 0o700 });
    const user = { uid: 65534, gid: 65534 };
    await chown(home, user.uid, user.gid);
    const dataDir = join(home, "data");
    const asUser = await startReady(dataDir, { user });
    expect(asUser.ready.folder).toBe(join(dataDir, "postgres"));
    expect((await stat(`/proc/${asUser.ready.pid}`)).uid).toBe(user.uid);
    await expect(query(asUser.ready.url, "select 1")).rejects.toThrow(/Peer authentication failed/);
    await asUser.owner.end("SIGTERM");

    const asRoot = await startReady(dataDir);
    expect((await stat(`/proc/${asRoot.ready.pid}`)).uid).toBe(user.uid);
    expect(await query(asRoot.ready.url, "select 1")).toEqual([[1]]);
    await asRoot.owner.end("SIGTERM");
  });
});
