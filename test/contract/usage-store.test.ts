import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { EndReason, type UsageRecord, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { sortOut } from "../../services/usage/intake.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import type { ListPlan } from "../../services/usage/query.ts";
import type { RecordRow } from "../../services/usage/record.ts";
import { createSeriesIndex } from "../../services/usage/series.ts";
import type { UsageStore } from "../../services/usage/store.ts";
import { postgresUsageStore } from "../../services/usage/store-postgres.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { type SeededRandom, seededRandom } from "../fakes/seeded-random.ts";
import { makeHistory, sumsOf, truthOf } from "../fakes/usage-histories.ts";
import { bytesOf, type RecordInit, usageRecord } from "../fakes/usage-records.ts";

let database: TestDatabase;
let store: UsageStore;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { usage: migrations } });
  store = postgresUsageStore(database.kysely(), { clock: systemClock, chance: seededRandom(1).next });
});
afterAll(() => database[Symbol.asyncDispose]());

beforeEach(() => sql`truncate usage.records, usage.attempts, usage.rollups, usage.series`.execute(database.kysely()));

const everything = { fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER };
const noFilter = { projectIds: [], keyIds: [], userIds: [], models: [], endReasons: [] };
const series = createSeriesIndex();
/** The end of a month, so that histories cross it. */
const startMs = Date.UTC(2026, 2, 31, 23, 30);
const hourMs = 3_600_000;

function rowsOf(words: readonly UsageRecord[]): readonly RecordRow[] {
  const { rows, setAside } = sortOut(words.map(bytesOf), everything, series);
  expect(setAside).toEqual([]);
  return rows;
}

function batchesOf<T>(words: readonly T[], random: SeededRandom, longest: number): T[][] {
  const batches: T[][] = [];
  for (let at = 0; at < words.length; ) {
    const length = 1 + random.below(longest);
    batches.push(words.slice(at, at + length));
    at += length;
  }
  return batches;
}

/** Every word some times, in any order, cut anywhere. */
function deliveryOf(words: readonly UsageRecord[], random: SeededRandom, times: number): UsageRecord[][] {
  const repeated = words.flatMap((word) => Array.from({ length: 1 + random.below(times) }, () => word));
  return batchesOf(random.shuffled(repeated), random, 60);
}

async function keptRecords(): Promise<Map<string, RecordRow>> {
  const kept = new Map<string, RecordRow>();
  for (const projectId of ["acme-one", "acme-two", "umbrella-one"]) {
    const plan: ListPlan = {
      projectId,
      startMs: undefined,
      endMs: undefined,
      filter: noFilter,
      requestId: undefined,
      before: undefined,
    };
    for (const row of await store.list(plan, 1_000_000)) kept.set(row.requestId, row);
  }
  return kept;
}

async function keptSums(): Promise<Map<string, Record<string, bigint>>> {
  const { rows } = await sql<Record<string, string> & { slot_time: Date }>`
    select * from usage.rollups join usage.series on series.id = series_id where requests <> 0`.execute(
    database.kysely(),
  );
  const sums = rows.map((row): [string, Record<string, bigint>] => {
    const names = ["org_id", "project_id", "key_id", "user_id", "requested_model", "model", "operation"];
    const key = [row.slot_time.toISOString(), ...names.map((name) => row[name])].join(" ");
    const counted = ["requests", "failed_requests", "prompt_tokens", "completion_tokens", "cached_tokens"];
    const all = [...counted, "reasoning_tokens", "estimated_tokens", "unpriced_requests"];
    return [key, Object.fromEntries(all.map((name) => [name, BigInt(row[name] ?? "")]))];
  });
  return new Map(sums);
}

/** What is kept is what a naive ledger keeps: rows, their attempts, and sums. */
async function expectTruth(words: readonly UsageRecord[]): Promise<void> {
  const truth = truthOf(words);
  const rows = new Map([...truth].map(([id, word]) => [id, rowsOf([word])[0]]));
  const kept = await keptRecords();
  expect(kept.size).toBe(rows.size);
  for (const [id, row] of rows) expect(kept.get(id)).toEqual(row);
  expect(await keptSums()).toEqual(sumsOf(truth.values()));
  // Emptied slots are all zero.
  const { rows: odd } = await sql`
    select * from usage.rollups where requests = 0 and (prompt_tokens, completion_tokens, failed_requests) <> (0, 0, 0)`.execute(
    database.kysely(),
  );
  expect(odd).toEqual([]);
}

/** Sends as a node does: again and again until it is acknowledged. Returns how often it was not. */
async function send(words: readonly UsageRecord[]): Promise<number> {
  for (let failures = 0; ; failures++) {
    try {
      await store.record(rowsOf(words));
      return failures;
    } catch (error) {
      if (!(error instanceof WeirError) || error.reason !== ErrorReason.STORE_UNAVAILABLE || failures > 100)
        throw error;
    }
  }
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])("history %i, however it is delivered, leaves the truth", async (seed) => {
  const random = seededRandom(seed);
  const { words } = makeHistory({ random, requests: 120, startMs, lengthMs: hourMs, clockErrorMs: hourMs });
  const senders = [deliveryOf(words, random, 3), deliveryOf(words, random, 2), deliveryOf(words, random, 1)];
  await Promise.all(
    senders.map(async (batches) => {
      for (const batch of batches) await send(batch);
    }),
  );
  await expectTruth(words);
  // A journal that reappears changes nothing.
  for (const batch of batchesOf(words, random, 500)) await send(batch);
  await expectTruth(words);
});

test("of two words on a request the store keeps the one that a batch of both is folded to", async () => {
  const running = { endReason: EndReason.UNSPECIFIED };
  const lost = { checkpoint: true, endReason: EndReason.LOST };
  const words: RecordInit[] = [
    { state: UsageState.INTENT, sequence: 1n, ...running },
    { state: UsageState.INTENT, sequence: 9n, ...running },
    { state: UsageState.PROGRESS, sequence: 2n, ...running },
    { state: UsageState.PROGRESS, sequence: 3n, ...running },
    { sequence: 1n, ...lost },
    { sequence: 4n, ...lost },
    { sequence: 2n },
    { sequence: 5n, endReason: EndReason.FAILED },
    { sequence: 5n, endReason: EndReason.CANCELLED, tokens: { promptTokens: 1n } },
  ];
  for (const first of words) {
    for (const second of words) {
      const requestId = systemIds.uuidv7();
      const told = [first, second].map((word) => usageRecord(requestId, systemClock.nowMs(), word));
      for (const word of told) await send([word]);
      const plan = { projectId: "acme-one", startMs: undefined, endMs: undefined, filter: noFilter, requestId };
      expect(await store.list({ ...plan, before: undefined }, 2)).toEqual(rowsOf(told));
    }
  }
});

test("any part of a history leaves the truth as far as it was told", async () => {
  const random = seededRandom(99);
  const { words } = makeHistory({ random, requests: 60, startMs, lengthMs: hourMs });
  const told: UsageRecord[] = [];
  for (const batch of batchesOf(random.shuffled(words), random, 30)) {
    await send(batch);
    told.push(...batch);
    await expectTruth(told);
  }
});

test("connections that are cut in the middle of batches lose and double nothing", async () => {
  const random = seededRandom(7);
  const { words } = makeHistory({ random, requests: 400, startMs, lengthMs: hourMs });
  const senders = [deliveryOf(words, random, 3), deliveryOf(words, random, 3)];
  let sending = true;
  let cut = 0;
  const killer = async () => {
    await using other = await connectionOf(database);
    // Fewer cuts than a sender tries: a slow machine's batches are each met by many.
    while (sending && cut < 50) {
      // Those in the middle of a batch: nobody else's.
      const { rows } = await sql<{ pid: number }>`
        select pg_terminate_backend(pid), pid from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state = 'active'
          and query like '%insert into usage.records%'`.execute(other.db);
      cut += rows.length;
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  };
  const killing = killer();
  let failures = 0;
  // A cut has to hit a batch: the history is told again until there were enough.
  while (cut < 10) {
    const sent = senders.map(async (batches) => {
      for (const batch of batches) {
        const failed = await send(batch);
        failures += failed;
      }
    });
    await Promise.all(sent);
  }
  sending = false;
  await killing;
  expect(failures).toBeGreaterThan(0);
  await expectTruth(words);
}, 120_000);

test("100,000 repeated and shuffled records count once each", async () => {
  const random = seededRandom(11);
  const { words } = makeHistory({ random, requests: 7_000, startMs, lengthMs: 3 * hourMs });
  const repeated: UsageRecord[] = [];
  while (repeated.length < 100_000) repeated.push(...words);
  const batches = batchesOf(random.shuffled(repeated), random, 1_999);
  let next = 0;
  const sender = async () => {
    for (let batch = batches[next++]; batch !== undefined; batch = batches[next++]) await send(batch);
  };
  await Promise.all(Array.from({ length: 4 }, sender));
  const truth = truthOf(words);
  expect(await keptSums()).toEqual(sumsOf(truth.values()));
  const { rows } = await sql<{ count: string }>`select count(*) from usage.records`.execute(database.kysely());
  expect(rows[0]?.count).toBe(String(truth.size));
}, 120_000);

/** A connection beside the pool. */
async function connectionOf({ url }: TestDatabase) {
  const { openPool } = await import("../../services/runtime/postgres/pool.ts");
  const { pino } = await import("pino");
  const pool = openPool(url, { log: pino({ level: "silent" }), connectionsMax: 1, connectTimeoutMs: 10_000 });
  return { db: pool.kysely<unknown>(), [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose]() };
}
