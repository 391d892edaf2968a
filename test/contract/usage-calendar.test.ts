import { timestampMs } from "@bufbuild/protobuf/wkt";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { UsageRecord } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { sortOut } from "../../services/usage/intake.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import type { SumPlan, SumRow } from "../../services/usage/query.ts";
import { createSeriesIndex } from "../../services/usage/series.ts";
import type { WholeStep } from "../../services/usage/steps.ts";
import { postgresUsageStore } from "../../services/usage/store-postgres.ts";
import type { UsageStore } from "../../services/usage/store.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { seededRandom } from "../fakes/seeded-random.ts";
import { makeHistory, truthOf } from "../fakes/usage-histories.ts";
import { bytesOf } from "../fakes/usage-records.ts";

const dayMs = 86_400_000;
const quarterMs = 900_000;

let database: TestDatabase;
let store: UsageStore;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { usage: migrations } });
  store = postgresUsageStore(database.kysely(), { clock: systemClock, chance: () => 0.5 });
});
afterAll(() => database[Symbol.asyncDispose]());

beforeEach(() => sql`truncate usage.records, usage.attempts, usage.rollups, usage.series`.execute(database.kysely()));

/** Clocks are set at these moments. */
const turns = [
  ["Atlantic/Azores", "back from one o'clock to midnight", "2026-10-25T01:00Z"],
  ["America/Havana", "back from one o'clock to midnight, on a month's first day", "2026-11-01T05:00Z"],
  ["Asia/Beirut", "back from midnight to the evening before", "2026-10-24T21:00Z"],
  ["America/Santiago", "forward from midnight", "2026-09-06T04:00Z"],
  ["Australia/Lord_Howe", "back by half an hour", "2026-04-04T15:00Z"],
  ["America/New_York", "back in the night", "2026-11-01T06:00Z"],
] as const;

const lengths: Readonly<Record<WholeStep, number>> = { month: 7, day: 10 };

/** From the step's first instant to the next one's, found on the wall's clock at each quarter of an hour. */
function boundsAt(ms: number, timeZone: string, step: WholeStep): readonly [number, number] {
  const format = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short" });
  const name = format.format(ms).slice(0, lengths[step]);
  const isWithin = (at: number) => format.format(at).startsWith(name);
  let start = Math.floor(ms / quarterMs) * quarterMs;
  let end = start + quarterMs;
  while (isWithin(start - 1)) start -= quarterMs;
  while (isWithin(end)) end += quarterMs;
  return [start, end];
}

const admitOf = ({ admitTime }: UsageRecord) => (admitTime === undefined ? 0 : timestampMs(admitTime));

async function pages(asked: SumPlan): Promise<SumRow[]> {
  const rows: SumRow[] = [];
  for (let after: SumPlan["after"]; ; after = rows.at(-1)) {
    const page = await store.sums({ ...asked, after }, 2);
    rows.push(...page);
    if (page.length < 2) return rows;
  }
}

test.each(turns)("in %s clocks are set %s: days and months are whole", async (timeZone, _how, at) => {
  const turnMs = Date.parse(at);
  const { words } = makeHistory({
    random: seededRandom(41),
    requests: 400,
    startMs: turnMs - dayMs,
    lengthMs: 2 * dayMs,
  });
  await store.record(sortOut(words.map(bytesOf), { fromMs: 0, untilMs: Infinity }, createSeriesIndex()).rows);
  const truth = [...truthOf(words).values()].filter(({ orgId }) => orgId === "acme");
  const times = [turnMs - dayMs / 2, turnMs - quarterMs, turnMs, turnMs + 3 * quarterMs, turnMs + 5 * quarterMs];
  for (const step of ["day", "month"] as const) {
    for (const ms of [...times, ...words.slice(0, 10).map(admitOf)]) {
      const bounds = boundsAt(ms, timeZone, step);
      expect(await store.wholeSteps(ms, ms + 1, step, timeZone)).toEqual(bounds);
    }
  }
  for (const source of ["rollups", "records"] as const) {
    const [startMs, endMs] = boundsAt(turnMs, timeZone, "day");
    const filter = { projectIds: [], keyIds: [], userIds: [], models: [], endReasons: [] };
    const asked: SumPlan = {
      owner: { orgId: "acme" },
      filter,
      startMs,
      endMs,
      step: "day",
      timeZone,
      groups: ["model", "key_id"],
      source,
      after: undefined,
    };
    const rows = await pages(asked);
    const within = truth.filter((record) => admitOf(record) >= startMs && admitOf(record) < endMs);
    expect(new Set(rows.map((row) => row.startMs))).toEqual(new Set([startMs]));
    expect(rows.reduce((sum, { requests }) => sum + requests, 0n)).toBe(BigInt(within.length));
    expect(within.length).toBeGreaterThan(20);
  }
});
