import { timestampMs } from "@bufbuild/protobuf/wkt";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { EndReason, type UsageRecord, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createIdSource, systemIds } from "../../services/runtime/ids.ts";
import { sortOut } from "../../services/usage/intake.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import type { Filter, GroupName, ListPlan, SumPlan, SumRow } from "../../services/usage/query.ts";
import { createSeriesIndex } from "../../services/usage/series.ts";
import { postgresUsageStore } from "../../services/usage/store-postgres.ts";
import type { UsageStore } from "../../services/usage/store.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { seededRandom } from "../fakes/seeded-random.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { makeHistory, truthOf } from "../fakes/usage-histories.ts";
import { bytesOf, runningRecord, usageRecord } from "../fakes/usage-records.ts";

let database: TestDatabase;
let store: UsageStore;

const dayMs = 86_400_000;
const hourMs = 3_600_000;
const retentionMs = 60 * dayMs;
/** The end of winter time in Europe, and of a month soon after. */
const startMs = Date.UTC(2026, 2, 28, 12);
const lengthMs = 4 * dayMs;
const everything = { fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER };
const series = createSeriesIndex();
const noFilter: Filter = { projectIds: [], keyIds: [], userIds: [], models: [], endReasons: [] };

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { usage: migrations } });
  store = postgresUsageStore(database.kysely(), { clock: systemClock, chance: () => 0.5 });
});
afterAll(() => database[Symbol.asyncDispose]());

beforeEach(() =>
  sql`truncate usage.records, usage.attempts, usage.rollups, usage.series, usage.quarantine, usage.nodes`.execute(
    database.kysely(),
  ),
);

async function keep(records: readonly UsageRecord[]): Promise<void> {
  const { rows, setAside } = sortOut(records.map(bytesOf), everything, series);
  expect(setAside).toEqual([]);
  await store.record(rows);
}

const plan = (over: Partial<SumPlan> = {}): SumPlan => ({
  owner: { orgId: "acme" },
  filter: noFilter,
  startMs,
  endMs: startMs + lengthMs,
  step: "all",
  timeZone: "UTC",
  groups: [],
  source: "rollups",
  after: undefined,
  ...over,
});

const listing = (over: Partial<ListPlan> = {}): ListPlan => ({
  projectId: "acme-one",
  startMs: undefined,
  endMs: undefined,
  filter: noFilter,
  requestId: undefined,
  before: undefined,
  ...over,
});

const idsAt = (ms: number) =>
  createIdSource({ clock: new SimulatedClock(ms), randomBytes: (length) => new Uint8Array(length) }).uuidv7();

async function partitions(): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select relname as name from pg_class
    where relnamespace = 'usage'::regnamespace and relkind = 'r' and relname ~ '_[0-9]{4}_[0-9]{2}$'
    order by 1`.execute(database.kysely());
  return rows.map(({ name }) => name);
}

const groupOf: Readonly<Record<GroupName, (record: UsageRecord) => string>> = {
  project_id: ({ projectId }) => projectId,
  key_id: ({ keyId }) => keyId,
  user_id: ({ userId }) => userId,
  model: ({ model }) => model,
};

/** The time, as a clock on the wall of the zone shows it, cut to the step. */
function wallTime(ms: number, timeZone: string, step: SumPlan["step"]): string {
  const shown = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "short" }).format(ms);
  const lengths = { all: 0, month: 7, day: 10, hour: 13, minute: 16 };
  return shown.slice(0, lengths[step]);
}

/** Sums as a naive ledger makes them. */
function naively(records: Iterable<UsageRecord>, { step, timeZone, groups }: SumPlan): string[] {
  const sums = new Map<string, bigint[]>();
  for (const record of records) {
    const ms = record.admitTime ? timestampMs(record.admitTime) : 0;
    const key = [wallTime(ms, timeZone, step), ...groups.map((name) => groupOf[name](record))].join(" ");
    const sum = sums.get(key) ?? [0n, 0n, 0n];
    const { promptTokens = 0n, completionTokens = 0n } = record.tokens ?? {};
    sums.set(key, [(sum[0] ?? 0n) + 1n, (sum[1] ?? 0n) + promptTokens, (sum[2] ?? 0n) + completionTokens]);
  }
  return [...sums].map(([key, sum]) => `${key}: ${sum.join(" ")}`).sort();
}

function told(rows: readonly SumRow[], { step, timeZone }: SumPlan): string[] {
  return rows
    .map((row) => {
      const key = [wallTime(row.startMs, timeZone, step), ...row.values].join(" ");
      return `${key}: ${row.requests} ${row.promptTokens} ${row.completionTokens}`;
    })
    .sort();
}

test.each([
  ["all at once", { step: "all" }],
  ["by the hour", { step: "hour", groups: ["model"] }],
  ["by days of a zone that puts its clock forward", { step: "day", timeZone: "Europe/Berlin", groups: ["key_id"] }],
  ["by days that begin at half an hour", { step: "day", timeZone: "Asia/Kolkata", groups: ["project_id", "user_id"] }],
  ["by days that begin at three quarters", { step: "day", timeZone: "Asia/Kathmandu" }],
  ["by months of a zone behind", { step: "month", timeZone: "America/New_York", groups: ["model", "project_id"] }],
  ["by the minute", { step: "minute", source: "records" }],
  ["by days, from the records", { step: "day", timeZone: "Pacific/Apia", source: "records", groups: ["model"] }],
] as const)("sums %s are those of a naive ledger", async (_name, over) => {
  const { words } = makeHistory({ random: seededRandom(21), requests: 600, startMs, lengthMs });
  await keep(words);
  const truth = [...truthOf(words).values()];
  const asked = plan({ startMs: startMs - 40 * dayMs, endMs: startMs + 40 * dayMs, ...over });
  const ofAcme = truth.filter(({ orgId }) => orgId === "acme");
  expect(told(await store.sums(asked, 100_000), asked)).toEqual(naively(ofAcme, asked));
  const ofOne = { ...asked, owner: { projectId: "acme-one" } };
  const one = truth.filter(({ projectId }) => projectId === "acme-one");
  expect(told(await store.sums(ofOne, 100_000), ofOne)).toEqual(naively(one, ofOne));
});

test("filters hold together, and each by any of its values", async () => {
  const { words } = makeHistory({ random: seededRandom(22), requests: 400, startMs, lengthMs });
  await keep(words);
  const truth = [...truthOf(words).values()].filter(({ orgId }) => orgId === "acme");
  const filter = { projectIds: ["acme-one"], keyIds: ["key0", "key2"], userIds: ["ada"], models: ["模型", "qwen-72b"] };
  const chosen = truth.filter(
    (record) =>
      record.projectId === "acme-one" &&
      record.keyId !== "key1" &&
      record.userId === "ada" &&
      filter.models.includes(record.model),
  );
  expect(chosen.length).toBeGreaterThan(3);
  const asked = plan({ filter: { ...filter, endReasons: [] }, groups: ["model"] });
  expect(told(await store.sums(asked, 100), asked)).toEqual(naively(chosen, asked));
  const ended = plan({ filter: { ...filter, endReasons: [EndReason.COMPLETED] }, source: "records" });
  const completed = chosen.filter(({ endReason }) => endReason === EndReason.COMPLETED);
  expect(told(await store.sums(ended, 100), ended)).toEqual(naively(completed, ended));
});

test("pages of sums hold every row once, in order", async () => {
  const { words } = makeHistory({ random: seededRandom(23), requests: 300, startMs, lengthMs });
  await keep(words);
  const asked = plan({ step: "day", groups: ["model", "key_id"] });
  const whole = await store.sums(asked, 1_000);
  const paged: SumRow[] = [];
  for (let after: SumPlan["after"]; ; ) {
    const page = await store.sums({ ...asked, after }, 7);
    paged.push(...page);
    if (page.length < 7) break;
    after = page.at(-1);
  }
  expect(paged).toEqual(whole);
  const keys = whole.map(({ startMs: ms, values }) => [
    ms,
    ...values.map((value) => Buffer.from(value).toString("hex")),
  ]);
  expect(keys).toEqual(keys.toSorted((a, b) => (a.join(" ") < b.join(" ") ? -1 : 1)));
});

test("a model that a request went away from before it ended is in no sum", async () => {
  const requestId = idsAt(startMs);
  await keep([runningRecord(requestId, startMs, { model: "first" })]);
  await keep([usageRecord(requestId, startMs, { model: "fallback" })]);
  const rows = await store.sums(plan({ groups: ["model"] }), 10);
  expect(rows.map(({ values, requests }) => [values, requests])).toEqual([[["fallback"], 1n]]);
});

test("whole steps follow the calendar of the zone", async () => {
  const iso = async (...args: Parameters<UsageStore["wholeSteps"]>) =>
    (await store.wholeSteps(...args)).map((ms) => new Date(ms).toISOString());
  const noon = Date.UTC(2026, 2, 29, 12);
  // That day has 23 hours in Berlin.
  expect(await iso(noon, noon + 1, "day", "Europe/Berlin")).toEqual([
    "2026-03-28T23:00:00.000Z",
    "2026-03-29T22:00:00.000Z",
  ]);
  expect(await iso(noon, noon + 1, "month", "Asia/Kolkata")).toEqual([
    "2026-02-28T18:30:00.000Z",
    "2026-03-31T18:30:00.000Z",
  ]);
  const midnight = Date.UTC(2026, 2, 29);
  expect(await iso(midnight, midnight + dayMs, "day", "UTC")).toEqual([
    "2026-03-29T00:00:00.000Z",
    "2026-03-30T00:00:00.000Z",
  ]);
});

test("records come newest first, in pages, with what runs among them", async () => {
  const { words } = makeHistory({ random: seededRandom(24), requests: 200, startMs, lengthMs });
  await keep(words);
  const expected = [...truthOf(words).values()]
    .filter(({ projectId }) => projectId === "acme-one")
    .map(({ requestId }) => requestId)
    .sort()
    .reverse();
  const listed: string[] = [];
  for (let before: string | undefined; ; ) {
    const page = await store.list(listing({ before }), 9);
    listed.push(...page.map(({ requestId }) => requestId));
    if (page.length < 9) break;
    before = listed.at(-1);
  }
  expect(listed).toEqual(expected);
  const all = await store.list(listing(), 1_000);
  expect(all.some(({ state }) => state === UsageState.INTENT)).toBe(true);
  const some = await store.list(listing({ filter: { ...noFilter, endReasons: [EndReason.FAILED] } }), 1_000);
  expect(some.length).toBeGreaterThan(0);
  expect(some).toEqual(all.filter(({ endReason }) => endReason === EndReason.FAILED));
  const middle = all[20];
  if (middle === undefined) throw new Error("there are as many");
  expect(await store.list(listing({ requestId: middle.requestId }), 10)).toEqual([middle]);
  expect(await store.list(listing({ projectId: "acme-two", requestId: middle.requestId }), 10)).toEqual([]);
  const window = { startMs: startMs + dayMs, endMs: startMs + 2 * dayMs };
  const within = all.filter(({ admitMs }) => admitMs >= window.startMs && admitMs < window.endMs);
  expect(await store.list(listing(window), 1_000)).toEqual(within);
});

test("partitions are made ahead of a month, and dropped with all they hold once retention is over", async () => {
  await keepAt(startMs);
  const request = usageRecord(idsAt(startMs), startMs);
  const twice = { replicaId: "other", errorReason: 5 as const };
  const [attempt] = request.attempts;
  if (attempt) request.attempts.push({ ...attempt, ...twice });
  await keep([request]);
  const asked = plan();
  const before = await store.sums(asked, 10);
  expect((await keepAt(Date.UTC(2026, 3, 26))).made).toEqual(["2026_05"]);
  expect((await keepAt(Date.UTC(2026, 3, 26))).made).toEqual([]);
  expect((await keepAt(Date.UTC(2026, 4, 29))).dropped).toEqual([]);
  expect(await store.list(listing(), 10)).toHaveLength(1);
  expect((await keepAt(Date.UTC(2026, 4, 31))).dropped).toEqual(["2026_03"]);
  expect(await store.list(listing(), 10)).toEqual([]);
  expect(await partitions()).not.toContain("attempts_2026_03");
  // Sums are kept for good.
  expect(await store.sums(asked, 10)).toEqual(before);
});

async function keepAt(nowMs: number) {
  const { made } = await store.keep({ nowMs, retentionMs, lostBeforeMs: 0 });
  return { made, dropped: await store.drop(nowMs - retentionMs) };
}

test("a record of long ago finds a place, also when many ask for it at once or another process took it away", async () => {
  const oldMs = Date.UTC(2025, 6, 31, 23, 59);
  const others = Array.from({ length: 4 }, () =>
    postgresUsageStore(database.kysely(), { clock: systemClock, chance: () => 0.5 }),
  );
  const rowsOf = (ms: number) => {
    const id = idsAt(ms).replace(/.{4}$/, () => systemIds.uuidv7().slice(-4));
    return sortOut([bytesOf(usageRecord(id, ms))], everything, series).rows;
  };
  await Promise.all(others.map((other) => other.record([...rowsOf(oldMs), ...rowsOf(oldMs + 120_000)])));
  expect((await partitions()).filter((name) => name.includes("_2025_"))).toEqual([
    "attempts_2025_07",
    "attempts_2025_08",
    "records_2025_07",
    "records_2025_08",
  ]);
  await keepAt(Date.UTC(2026, 2, 1));
  expect((await partitions()).filter((name) => name.includes("_2025_"))).toEqual([]);
  // The others still believe that it is there.
  await others[0]?.record(rowsOf(oldMs));
  expect(await partitions()).toContain("records_2025_07");
  await keepAt(Date.UTC(2026, 2, 1));
});

test("a clock that goes back and forth by an hour at the turn of a month changes nothing", async () => {
  const turnMs = Date.UTC(2026, 3, 1);
  const { words } = makeHistory({
    random: seededRandom(31),
    requests: 200,
    startMs: turnMs - 1_000,
    lengthMs: 2_000,
    clockErrorMs: hourMs,
  });
  for (let at = 0; at < words.length; at += 10) {
    await keepAt(turnMs + (at % 20 === 0 ? hourMs : -hourMs));
    await keep(words.slice(at, at + 10));
  }
  const asked = plan({ startMs: turnMs - 2 * dayMs, endMs: turnMs + 2 * dayMs, step: "month" });
  const ofAcme = [...truthOf(words).values()].filter(({ orgId }) => orgId === "acme");
  expect(told(await store.sums(asked, 10), asked)).toEqual(naively(ofAcme, asked));
});

test("requests that nobody speaks of any more end as lost, until somebody does", async () => {
  const requestId = idsAt(startMs);
  await keep([runningRecord(requestId, startMs)]);
  const lose = () => store.keep({ nowMs: startMs, retentionMs, lostBeforeMs: startMs + 1 });
  expect((await lose()).lost).toBe(1);
  expect((await lose()).lost).toBe(0);
  expect(await store.list(listing(), 1)).toMatchObject([
    { state: UsageState.FINAL, checkpoint: true, endReason: EndReason.LOST, tokens: { promptTokens: 120 } },
  ]);
  const sums = async () => (await store.sums(plan(), 1))[0];
  expect(await sums()).toMatchObject({ requests: 1n, failedRequests: 1n, promptTokens: 120n });
  await keep([usageRecord(requestId, startMs)]);
  expect(await store.list(listing(), 1)).toMatchObject([{ checkpoint: false, endReason: EndReason.COMPLETED }]);
  expect(await sums()).toMatchObject({ requests: 1n, failedRequests: 0n, completionTokens: 64n });
  // One that was heard of within the time runs on.
  await keep([runningRecord(idsAt(startMs + 5), startMs + 5)]);
  expect((await store.keep({ nowMs: startMs, retentionMs, lostBeforeMs: startMs })).lost).toBe(0);
});

test("all that are lost end at once, by the time of their admission", async () => {
  const lostAt = (ms: number) => runningRecord(systemIds.uuidv7(), ms);
  const nowMs = Date.now();
  await keep([...Array.from({ length: 2_500 }, () => lostAt(nowMs - hourMs)), lostAt(nowMs)]);
  const lose = () => store.keep({ nowMs, retentionMs, lostBeforeMs: nowMs });
  expect((await lose()).lost).toBe(2_500);
  expect((await lose()).lost).toBe(0);
  const asked = plan({ startMs: nowMs - dayMs, endMs: nowMs + dayMs });
  expect(await store.sums(asked, 1)).toMatchObject([{ requests: 2_501n, failedRequests: 2_500n }]);
});

test("what cannot be counted is kept once, with its bytes, and as long as records are", async () => {
  const bytes = Uint8Array.from([1, 2, 3]);
  const aside = { index: 0, requestId: "?", reason: "malformed", problem: 'it\'s no "record"', bytes } as const;
  const other = { ...aside, bytes: Uint8Array.from([4]) };
  expect(await store.setAside("node-1", [aside, other, aside], startMs)).toHaveLength(2);
  const [again, twice] = await Promise.all([
    store.setAside("node-1", [other, aside], startMs + 1),
    store.setAside("node-2", [aside, other], startMs + 1),
  ]);
  expect([again, twice]).toEqual([[], []]);
  const kept = () =>
    sql<Record<string, unknown>>`select * from usage.quarantine order by record`.execute(database.kysely());
  expect((await kept()).rows).toMatchObject([
    { node_id: "node-1", request_id: "?", problem: 'it\'s no "record"', record: Buffer.from([1, 2, 3]) },
    { record: Buffer.from([4]) },
  ]);
  await keepAt(startMs + retentionMs - 1);
  expect((await kept()).rows).toHaveLength(2);
  await keepAt(startMs + retentionMs + 1);
  expect((await kept()).rows).toEqual([]);
});

test("usage is complete up to what the slowest node has told, and to what still runs", async () => {
  const one = { projectId: "acme-one" };
  expect(await store.completeUntil(one, 0)).toBeUndefined();
  await store.hear([
    { nodeId: "b", heardMs: startMs + 10, completeMs: startMs + 5 },
    { nodeId: "a", heardMs: startMs + 20, completeMs: startMs + 15 },
  ]);
  expect(await store.completeUntil(one, 0)).toBe(startMs + 5);
  // A word that was overtaken changes nothing.
  await store.hear([{ nodeId: "b", heardMs: startMs, completeMs: startMs }]);
  expect(await store.completeUntil(one, 0)).toBe(startMs + 5);
  // A node that was not heard for long is not waited for.
  expect(await store.completeUntil(one, startMs + 11)).toBe(startMs + 15);
  const requestId = idsAt(startMs - hourMs);
  await keep([runningRecord(requestId, startMs - hourMs, { projectId: "acme-two" })]);
  expect(await store.completeUntil(one, 0)).toBe(startMs + 5);
  expect(await store.completeUntil({ projectId: "acme-two" }, 0)).toBe(startMs - hourMs);
  expect(await store.completeUntil({ orgId: "acme" }, 0)).toBe(startMs - hourMs);
  expect(await store.completeUntil({ orgId: "umbrella" }, 0)).toBe(startMs + 5);
  await keep([usageRecord(requestId, startMs - hourMs, { projectId: "acme-two" })]);
  expect(await store.completeUntil({ orgId: "acme" }, 0)).toBe(startMs + 5);
});
