import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { pino } from "pino";
import { systemClock } from "../../services/runtime/clock.ts";
import { openDatabase } from "../../services/runtime/database.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { startEmbeddedPostgres } from "../../services/runtime/postgres/embedded.ts";
import { parsePostmasterFile } from "../../services/runtime/postgres/postmaster-file.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { bytesOf, runningRecord, usageRecord } from "../fakes/usage-records.ts";
import { startUsage, type UsageHarness } from "../rpc/usage-harness.ts";

/** What one way of sending cost. */
interface LedgerRow {
  readonly name: string;
  readonly records: number;
  readonly recordsPerSecond: number;
  /** CPU of all of PostgreSQL's processes, syncs included. */
  readonly postgresUs: number;
  /** CPU of this process: the call, decoding, folding, parameters. */
  readonly ownUs: number;
}

interface Way {
  readonly name: string;
  /** Makes what is sent. */
  readonly make: () => readonly Batch[];
}

type Batch = readonly Uint8Array<ArrayBuffer>[];

const records = 100_000;
const batchMax = 1_000;
/** Batches that a shipper has under way. */
const pipelined = 6;
/** Time that statistics of processes lag, and dirty pages are written in. */
const settleMs = 500;

/** Takes in records by a single sender, over the whole service and a PostgreSQL that syncs. */
export async function ledger(): Promise<readonly LedgerRow[]> {
  await using opened = new AsyncDisposableStack();
  const path = await openFolder("weir-ledger-");
  opened.defer(() => rm(path, { recursive: true, force: true }));
  const log = pino({ level: "silent" });
  const dataDir = { path, created: true };
  const server = opened.use(await startEmbeddedPostgres({ dataDir, clock: systemClock, log }));
  const postmaster = await postmasterOf(server.folder);
  const database = opened.use(openDatabase(server.url, { connectionsMax: 10, log }));
  const db = await database.schema<unknown>("usage", migrations);
  const harness = opened.use(startUsage(db, { clock: systemClock, retentionMs: 34_560_000_000 }));
  await sendAll(harness, cut(ends(records)));
  const rows: LedgerRow[] = [];
  for (const way of ways()) rows.push(await measure(harness, way, postmaster));
  console.table(
    rows.map(({ name, ...row }) => ({
      way: name,
      "records/s": Math.round(row.recordsPerSecond),
      "PostgreSQL us/record": row.postgresUs.toFixed(1),
      "own us/record": row.ownUs.toFixed(1),
    })),
  );
  console.log(JSON.stringify({ bench: "ledger", rows }));
  return rows;
}

function ways(): Way[] {
  const again: Batch[] = [];
  return [
    {
      name: "ends, 1,000 a batch",
      make() {
        again.push(...cut(ends(records)));
        return again;
      },
    },
    { name: "the same again", make: () => again.splice(0) },
    { name: "ends, 100 a batch", make: () => cut(ends(records), 100) },
    { name: "intents, then their ends", make: intentsAndEnds },
    { name: "requests that failed over once", make: () => cut(ends(records, true)) },
  ];
}

function intentsAndEnds(): Batch[] {
  return chunks(Array.from({ length: records / 2 }, request), batchMax).flatMap((part) => [
    asRead(part.map((make) => make("intent"))),
    asRead(part.map((make) => make("end"))),
  ]);
}

async function measure(harness: UsageHarness, { name, make }: Way, postmaster: number): Promise<LedgerRow> {
  const batches = make();
  // What making them left behind is not the ledger's to sweep up.
  collectGarbage();
  const count = batches.reduce((sum, batch) => sum + batch.length, 0);
  const before = await treeCpuUs(postmaster);
  const own = process.cpuUsage();
  const startMs = performance.now();
  await sendAll(harness, batches);
  const tookMs = performance.now() - startMs;
  const { user, system } = process.cpuUsage(own);
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const postgres = (await treeCpuUs(postmaster)) - before;
  const recordsPerSecond = (count / tookMs) * 1_000;
  return { name, records: count, recordsPerSecond, postgresUs: postgres / count, ownUs: (user + system) / count };
}

async function sendAll({ usage }: UsageHarness, batches: readonly Batch[]): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let batch = batches[next++]; batch !== undefined; batch = batches[next++]) {
      const { quarantined } = await usage.recordUsage(
        { nodeId: "bench", records: [...batch] },
        withCallOptions({ trusted: true }),
      );
      if (quarantined.length > 0) throw new Error(`set aside: ${quarantined[0]?.problem}`);
    }
  };
  await Promise.all(Array.from({ length: pipelined }, lane));
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect === "function") collect();
}

function ends(count: number, failedOver = false): Uint8Array[] {
  return Array.from({ length: count }, () => request()("end", failedOver));
}

/** Requests of 40 keys in 5 projects. */
let requests = 0;
function request(): (state: "intent" | "end", failedOver?: boolean) => Uint8Array<ArrayBuffer> {
  const requestId = systemIds.uuidv7();
  const admitMs = systemClock.nowMs();
  requests += 1;
  const owner = { projectId: `project-${requests % 5}`, keyId: `abcdefghij${10 + (requests % 40)}` };
  return (state, failedOver = false) => {
    if (state === "intent") return bytesOf(runningRecord(requestId, admitMs, owner));
    const record = usageRecord(requestId, admitMs, owner);
    const [attempt] = record.attempts;
    if (failedOver && attempt) record.attempts.unshift({ ...attempt, replicaId: "weir-sim-1", errorReason: 1 });
    return bytesOf(record);
  };
}

function cut(all: readonly Uint8Array[], length = batchMax): Batch[] {
  return chunks(all, length).map(asRead);
}

function chunks<T>(all: readonly T[], length: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / length) }, (_, part) =>
    all.slice(part * length, (part + 1) * length),
  );
}

/** A batch as a shipper reads it from its journal: views of one piece of a file. */
function asRead(batch: readonly Uint8Array[]): Batch {
  const piece = new Uint8Array(batch.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  return batch.map((record) => {
    const start = end;
    piece.set(record, start);
    end += record.length;
    return piece.subarray(start, end);
  });
}

async function postmasterOf(folder: string): Promise<number> {
  const file = parsePostmasterFile(await readFile(join(folder, "cluster", "postmaster.pid"), "utf8"));
  if (file === undefined) throw new Error("PostgreSQL has no process");
  return file.pid;
}

/** Linux counts CPU time in hundredths of a second. */
const tickUs = 10_000;

/** CPU time of a process and its children, those that ended included, in microseconds. */
async function treeCpuUs(root: number): Promise<number> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const costs = await Promise.all(pids.map((pid) => costUs(pid, root)));
  return costs.reduce((sum, cost) => sum + cost, 0);
}

async function costUs(pid: number, root: number): Promise<number> {
  // A process may end while it is looked at.
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const fields = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const [, parent, , , , , , , , , , user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields;
  if (pid === root) return (user + system + endedUser + endedSystem) * tickUs;
  return parent === root ? (user + system) * tickUs : 0;
}
