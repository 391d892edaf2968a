import { sql } from "kysely";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import { keepOnce } from "../../services/usage/housekeeping.ts";
import { sortOut } from "../../services/usage/intake.ts";
import { createLedgerTime } from "../../services/usage/ledger-time.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import { createSeriesIndex } from "../../services/usage/series.ts";
import { postgresUsageStore } from "../../services/usage/store-postgres.ts";
import type { UsageStore } from "../../services/usage/store.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { bytesOf, runningRecord } from "../fakes/usage-records.ts";

let database: TestDatabase;
let store: UsageStore;

const dayMs = 86_400_000;
const retentionMs = 60 * dayMs;
const nowMs = Date.UTC(2026, 4, 31);
const log = pino({ level: "silent" });

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { usage: migrations } });
  store = postgresUsageStore(database.kysely(), { clock: new SimulatedClock(nowMs), chance: () => 0.5 });
});
afterAll(() => database[Symbol.asyncDispose]());

/** A request that is said to run since then. */
async function runsSince(ms: number): Promise<string> {
  const ids = createIdSource({ clock: new SimulatedClock(ms), randomBytes: (length) => new Uint8Array(length) });
  const id = ids.uuidv7();
  const { rows } = sortOut([bytesOf(runningRecord(id, ms))], { fromMs: 0, untilMs: Infinity }, createSeriesIndex());
  await store.record(rows);
  return id;
}

function keep(): Promise<void> {
  const clock = new SimulatedClock(nowMs);
  const own = { ...store, nowMs: async () => nowMs };
  return keepOnce({ store: own, clock, time: createLedgerTime(own, clock), log, retentionMs });
}

test("while somebody reads what is to be dropped, what was lost ends, and what was set aside long ago is forgotten", async () => {
  const old = await runsSince(Date.UTC(2026, 2, 10));
  const lost = await runsSince(nowMs - 2 * dayMs);
  const runs = await runsSince(nowMs - dayMs / 2);
  const aside = Array.from({ length: 2_500 }, (_, index) => {
    return { index, requestId: "", reason: "malformed", problem: "", bytes: Buffer.from(String(index)) } as const;
  });
  await store.setAside("node", aside, nowMs - retentionMs - 1);
  const ends = async () => {
    const { rows } = await sql<{ request_id: string; end_reason: number }>`
      select request_id, end_reason from usage.records order by request_id`.execute(database.kysely());
    return rows.map((row) => [row.request_id, row.end_reason]);
  };
  await database
    .kysely()
    .transaction()
    .execute(async (dump) => {
      await sql`lock table usage.records, usage.attempts in access share mode`.execute(dump);
      await expect(keep()).rejects.toMatchObject({ message: expect.stringContaining("usage store") });
    });
  const over = [
    [lost, EndReason.LOST],
    [runs, EndReason.UNSPECIFIED],
  ];
  expect(await ends()).toEqual([[old, EndReason.LOST], ...over]);
  const { rows } = await sql`select from usage.quarantine`.execute(database.kysely());
  expect(rows).toHaveLength(0);
  await keep();
  expect(await ends()).toEqual(over);
});
