import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFolder } from "../fakes/open-folder.ts";
import { eventsOf, type RawReply, RawRequest } from "../fakes/raw-request.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { onSmallDisk, resizeDisk, seenBy, smallDisks } from "../fakes/small-disk.ts";
import { UsageWorld } from "../fakes/usage-world.ts";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";
import { eventually } from "../rpc/eventually.ts";

let folder: string;
let disk: string;
let engine: SimulatorProcess;
let weir: WeirProcess;

beforeEach(async () => {
  folder = await openFolder("weir-full-");
  disk = join(folder, "disk");
  await mkdir(disk);
  engine = await startSimulatorProcess(["--decode-ms", "1", "--prefill-ms", "0", "--slots", "512"]);
});
afterEach(async () => {
  await weir?.[Symbol.asyncDispose]();
  await engine?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A gateway with its journal on a disk of its own, whose ledger is away: nothing that is noted ever goes. */
async function start(size: string): Promise<void> {
  const file = join(folder, "weir.yaml");
  await writeFile(
    file,
    `
listen: { port: 0, admin_port: 0, mesh_port: 0 }
roles: [edge, router, auth, catalog, quota]
mesh: { peers: { usage: "http://127.0.0.1:1" } }
usage: { journal_dir: "${disk}", journal_bytes_max: 16777216 }
pools: [{ id: sim, replicas: [{ url: "${engine.httpUrl}" }] }]
models: [{ id: sim, pool: sim, engine_model: weir-sim }]
`,
  );
  weir = await startWeirProcess({
    args: ["--config", file],
    dataDir: join(folder, "data"),
    wrapper: onSmallDisk(disk, size),
  });
}

const ask = (tokens = 1, stream = false) =>
  new RawRequest({
    port: Number(new URL(weir.url).port),
    key: weir.key,
    path: "/v1/completions",
    body: { model: "sim", prompt: "Go on.", max_tokens: tokens, min_tokens: tokens, stream },
  });

const codeOf = (reply: RawReply | undefined) =>
  reply?.status === 200 ? "ok" : (JSON.parse(reply?.body ?? "{}") as { error: { code: string } }).error.code;

/** Asks until requests are refused, many at a time. Returns how many were answered, and a refusal. */
async function fill(): Promise<{ answered: number; refusal: RawReply }> {
  let answered = 0;
  let refusal: RawReply | undefined;
  const one = async (): Promise<void> => {
    while (refusal === undefined && answered < 20_000) {
      const request = ask();
      const reply = await request.done();
      request.leave();
      if (reply?.status === 200) answered += 1;
      else refusal = reply;
    }
  };
  await Promise.all(Array.from({ length: 24 }, one));
  if (refusal === undefined) throw new Error(`${answered} requests were answered, and none refused`);
  return { answered, refusal };
}

/** What the journal has, read as the next start would. */
async function journalled(): Promise<{ finals: number; tokens: number[] }> {
  const copy = join(folder, "copy");
  mkdirSync(copy);
  const there = seenBy(weir.pid, disk);
  for (const name of readdirSync(there).filter((each) => each.endsWith(".journal")))
    copyFileSync(join(there, name), join(copy, name));
  await using world = await UsageWorld.open(copy);
  const records = await world.ship();
  return { finals: records.length, tokens: records.map(({ tokens }) => Number(tokens?.completionTokens)) };
}

describe.skipIf(!smallDisks)("a disk without room for the journal", () => {
  test("when it fills up: no request begins, streams end, nothing is lost, and with room all goes on", async () => {
    await start("5m");
    const long = ask(6_000, true);
    await eventually("it streams", () => eventsOf(long.text).chunks.length > 2, 10_000);
    const { answered, refusal } = await fill();
    expect([refusal.status, codeOf(refusal)]).toEqual([503, "ledger_unavailable"]);
    expect(Number(refusal.headers.get("retry-after"))).toBeGreaterThan(0);
    const reply = await long.done(60_000);
    expect(eventsOf(reply?.body ?? "").dones).toBe(1);
    expect(codeOf(await ask().done())).toBe("ledger_unavailable");
    const { finals, tokens } = await journalled();
    // One that was answered while others were refused may be counted or not.
    expect(finals).toBeGreaterThanOrEqual(answered + 1);
    expect(tokens.filter((count) => count === 6_000)).toHaveLength(1);
    expect(tokens.filter((count) => count === 1)).toHaveLength(finals - 1);
    resizeDisk(weir.pid, disk, "64m");
    await expect.poll(async () => codeOf(await ask().done()), { timeout: 5_000 }).toBe("ok");
  }, 120_000);

  test("from the start: the process starts, says why it refuses, and goes on when there is room", async () => {
    await start("1m");
    expect(codeOf(await ask().done())).toBe("ledger_unavailable");
    expect(await (await fetch(`${weir.adminUrl}/metrics`)).text()).toMatch(/^weir_usage_journal_room 0$/m);
    await eventually("it is told", () => weir.log().includes("the usage journal has no room"));
    resizeDisk(weir.pid, disk, "64m");
    await expect.poll(async () => codeOf(await ask().done()), { timeout: 5_000 }).toBe("ok");
    expect(await (await fetch(`${weir.adminUrl}/metrics`)).text()).toMatch(/^weir_usage_journal_room 1$/m);
  }, 60_000);
});
