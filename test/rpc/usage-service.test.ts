import { create, isUnknownEnum, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { sql } from "kysely";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import {
  TimeStep,
  TimeStepSchema,
  UsageGroup,
  type UsageQuery,
  UsageQuerySchema,
} from "../../gen/ts/weir/usage/v1/usage_query_pb.ts";
import { EndReason, Pricing, type UsageRecord, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import { openPool } from "../../services/runtime/postgres/pool.ts";
import { migrations } from "../../services/usage/migrations/migrations.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import { bytesOf, runningRecord, usageRecord } from "../fakes/usage-records.ts";
import { principal, told } from "./auth-harness.ts";
import { startUsage, type UsageHarness } from "./usage-harness.ts";

const dayMs = 86_400_000;
const retentionMs = 60 * dayMs;
const nowMs = Date.UTC(2026, 3, 15, 12);
let clock: SimulatedClock;
let database: TestDatabase;
let harness: UsageHarness;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { usage: migrations } });
});
afterAll(() => database[Symbol.asyncDispose]());

beforeEach(async () => {
  clock = new SimulatedClock(nowMs);
  const tables = sql`usage.records, usage.attempts, usage.rollups, usage.series, usage.quarantine, usage.nodes`;
  await sql`truncate ${tables}`.execute(database.kysely());
  harness = startUsage(database.kysely(), { clock, retentionMs });
  return async () => {
    await harness[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(0);
  };
});

const by = (caller: Principal) => withCallOptions({ principal: caller });
const reader = principal({ reach: Reach.PROJECT, permissions: ["usage.read"] });
const orgReader = principal({ reach: Reach.ORG, permissions: ["usage.read"] });
const admin = principal();

const ids = createIdSource({
  clock: { nowMs: () => nowMs, monotonicMs: () => 0, setTimer: () => ({ cancel() {} }) },
  randomBytes: (length) => new Uint8Array(length),
});
const nextId = () => ids.uuidv7();

type Sent = Omit<Parameters<UsageHarness["usage"]["recordUsage"]>[0], "$typeName" | "records">;
const send = (records: readonly UsageRecord[], more: Sent = {}) =>
  harness.usage.recordUsage({ nodeId: "node-1", ...more, records: records.map(bytesOf) }, withCallOptions({}));

type QueryInit = Exclude<MessageInitShape<typeof UsageQuerySchema>, UsageQuery>;
const query = (over: QueryInit = {}): UsageQuery =>
  create(UsageQuerySchema, {
    startTime: timestampFromMs(nowMs - dayMs),
    endTime: timestampFromMs(nowMs + dayMs),
    ...over,
  });

test("what a node ships is listed and summed up, while it runs and when it has ended", async () => {
  const [running, ended] = [nextId(), nextId()];
  expect((await send([runningRecord(running, nowMs), usageRecord(ended, nowMs)])).quarantined).toEqual([]);
  const { records } = await harness.usage.listUsageRecords({}, by(reader));
  expect(records.map(({ requestId }) => requestId)).toEqual([ended, running]);
  expect(records[0]).toEqual({
    ...usageRecord(ended, nowMs),
    cost: expect.objectContaining({ pricing: Pricing.UNPRICED }),
  });
  expect(records[1]).toEqual(runningRecord(running, nowMs));
  const { rows } = await harness.usage.queryUsage({ query: query() }, by(reader));
  expect(rows).toMatchObject([
    { requests: 2n, promptTokens: 240n, completionTokens: 128n, unpricedRequests: 2n, costs: [] },
  ]);
  await send([usageRecord(running, nowMs, { endReason: EndReason.FAILED, errorReason: 5 }), usageRecord(ended, nowMs)]);
  const after = await harness.usage.queryUsage(
    { query: query({ groupBy: [UsageGroup.KEY, UsageGroup.MODEL] }) },
    by(reader),
  );
  expect(after.rows).toMatchObject([
    { keyId: "abcdefghijkl", model: "weir-sim", userId: "", requests: 2n, failedRequests: 1n },
  ]);
});

test("a bad record is set aside, told, and raises one alarm; the rest of its batch is kept", async () => {
  const good = nextId();
  const old = usageRecord("019a0000-0000-7000-8000-000000000000", 0x019a00000000);
  const negative = usageRecord(nextId(), nowMs, { tokens: { completionTokens: -5n } });
  const absurd = usageRecord(nextId(), nowMs, { tokens: { completionTokens: 2n ** 60n } });
  const records = [...[old, usageRecord(good, nowMs), negative, absurd].map(bytesOf), Uint8Array.from([0xff])];
  const ship = () => harness.usage.recordUsage({ nodeId: "node-1", records }, withCallOptions({}));
  const { quarantined } = await ship();
  expect(quarantined).toMatchObject([
    { index: 0, requestId: old.requestId, problem: "its time lies before what is kept" },
    { index: 2, requestId: negative.requestId, problem: "tokens: a count is negative" },
    { index: 3, requestId: absurd.requestId, problem: "tokens: a count is absurd" },
    { index: 4, requestId: "" },
  ]);
  expect(await ship()).toMatchObject({ quarantined: [{}, {}, {}, {}] });
  const { records: kept } = await harness.usage.listUsageRecords({}, by(reader));
  expect(kept.map(({ requestId }) => requestId)).toEqual([good]);
  const metrics = await harness.metrics.text();
  expect(metrics).toContain('weir_usage_set_aside_total{reason="counts"} 2');
  expect(metrics).toContain('weir_usage_set_aside_total{reason="too_old"} 1');
  expect(metrics).toContain('weir_usage_set_aside_total{reason="malformed"} 1');
  const alarms = harness.lines.filter(({ level }) => level === "error");
  expect(alarms).toMatchObject([{ node_id: "node-1", records: 4, request_id: old.requestId }]);
});

test.each([
  ["the process's", { clockMs: nowMs - 30 * dayMs, timeMs: nowMs }],
  ["the database's", { clockMs: nowMs, timeMs: nowMs - 30 * dayMs }],
])("records are kept while %s clock is a month behind", async (_name, { clockMs, timeMs }) => {
  const [own, time] = [new SimulatedClock(clockMs), new SimulatedClock(timeMs)];
  await using ledger = startUsage(database.kysely(), { clock: own, time, retentionMs });
  const records = [bytesOf(usageRecord(nextId(), nowMs))];
  const { quarantined } = await ledger.usage.recordUsage({ nodeId: "node-1", records }, withCallOptions({}));
  expect(quarantined).toEqual([]);
});

test("usage is read by permission, and within the caller's reach", async () => {
  await send([
    usageRecord(nextId(), nowMs, { projectId: "acme-one" }),
    usageRecord(nextId(), nowMs, { projectId: "acme-two" }),
    usageRecord(nextId(), nowMs, { projectId: "umbrella-one", orgId: "umbrella" }),
  ]);
  const { usage } = harness;
  const refused: readonly (readonly [() => Promise<unknown>, string])[] = [
    [() => usage.listUsageRecords({}), "CREDENTIAL_MISSING"],
    [() => usage.queryUsage({ query: query() }), "CREDENTIAL_MISSING"],
    [
      () => usage.queryUsage({ query: query() }, by(principal({ permissions: ["models.invoke"] }))),
      "PERMISSION_DENIED",
    ],
    [() => usage.listUsageRecords({}, by(principal({ permissions: ["models.read"] }))), "PERMISSION_DENIED"],
    [() => usage.queryOrgUsage({ query: query() }, by(principal({ permissions: ["keys.read"] }))), "PERMISSION_DENIED"],
    [() => usage.queryUsage({ projectId: "acme-two", query: query() }, by(reader)), "NOT_FOUND"],
    [() => usage.listUsageRecords({ projectId: "acme-two" }, by(reader)), "NOT_FOUND"],
    [() => usage.queryOrgUsage({ query: query() }, by(reader)), "NOT_FOUND"],
    [() => usage.listUsageRecords({ projectId: "umbrella-one" }, by(orgReader)), "NOT_FOUND"],
    [() => usage.queryUsage({ projectId: "nowhere", query: query() }, by(admin)), "NOT_FOUND"],
    [() => usage.queryOrgUsage({ orgId: "umbrella", query: query() }, by(orgReader)), "NOT_FOUND"],
  ];
  for (const [work, reason] of refused) expect((await told(work())).reason).toBe(reason);
  const counted = async (work: ReturnType<typeof usage.queryUsage> | ReturnType<typeof usage.queryOrgUsage>) =>
    (await work).rows.map(({ projectId, requests }) => `${projectId} ${requests}`);
  const byProject = query({ groupBy: [UsageGroup.PROJECT] });
  expect(await counted(usage.queryUsage({ query: byProject }, by(reader)))).toEqual(["acme-one 1"]);
  expect(await counted(usage.queryUsage({ projectId: "acme-two", query: byProject }, by(orgReader)))).toEqual([
    "acme-two 1",
  ]);
  expect(await counted(usage.queryOrgUsage({ query: byProject }, by(orgReader)))).toEqual(["acme-one 1", "acme-two 1"]);
  expect(await counted(usage.queryOrgUsage({ orgId: "umbrella", query: byProject }, by(admin)))).toEqual([
    "umbrella-one 1",
  ]);
  // A filter by projects reaches no further than its owner.
  const foreign = query({ groupBy: [UsageGroup.PROJECT], filter: { projectIds: ["umbrella-one"] } });
  expect(await counted(usage.queryOrgUsage({ query: foreign }, by(orgReader)))).toEqual([]);
});

const unknownStep = ((value: number) => {
  if (!isUnknownEnum(TimeStepSchema, value)) throw new Error("it is known");
  return value;
})(9);

test.each<readonly [string, QueryInit, string]>([
  ["an end that is no later than its start", { endTime: timestampFromMs(nowMs - dayMs) }, "query"],
  ["a step that there is not", { step: unknownStep }, "query.step"],
  ["more than 10,000 steps", { step: TimeStep.MINUTE, startTime: timestampFromMs(nowMs - 8 * dayMs) }, "query.step"],
  ["a time zone that there is not", { timeZone: "Mars/Olympus" }, "query.time_zone"],
  ["an offset as a time zone", { timeZone: "+05" }, "query.time_zone"],
  ["a time zone with a quote", { timeZone: "UTC' or 1=1" }, "query.time_zone"],
  ["a group twice", { groupBy: [UsageGroup.KEY, UsageGroup.KEY] }, "query.group_by"],
  ["no group", { groupBy: [UsageGroup.UNSPECIFIED] }, "query.group_by[0]"],
  ["a filter that is no id", { filter: { keyIds: ["a b"] } }, "query.filter.key_ids[0]"],
  ["101 models", { filter: { models: Array.from({ length: 101 }, (_, n) => `m${n}`) } }, "query.filter.models"],
  [
    "ends of more than 31 days",
    { filter: { endReasons: [EndReason.FAILED] }, startTime: timestampFromMs(nowMs - 31 * dayMs) },
    "query.end_time",
  ],
  [
    "ends of what is not kept any more",
    {
      filter: { endReasons: [EndReason.FAILED] },
      startTime: timestampFromMs(nowMs - 90 * dayMs),
      endTime: timestampFromMs(nowMs - 80 * dayMs),
    },
    "query.start_time",
  ],
])("a query with %s is refused", async (_name, over, param) => {
  for (const work of [
    () => harness.usage.queryUsage({ query: query(over) }, by(reader)),
    () => harness.usage.queryOrgUsage({ query: query(over) }, by(admin)),
  ]) {
    expect(await told(work())).toMatchObject({ reason: "INVALID_ARGUMENT", facts: { param } });
  }
});

test("requests that break the contract are refused", async () => {
  const { usage } = harness;
  const noNode = { nodeId: "a node", records: [] };
  const tooMany = { nodeId: "n", records: Array.from({ length: 1_001 }, () => Uint8Array.from([1])) };
  const works: readonly (readonly [() => Promise<unknown>, string])[] = [
    [() => usage.recordUsage(noNode, withCallOptions({})), "node_id"],
    [() => usage.recordUsage(tooMany, withCallOptions({})), "records"],
    [() => usage.recordUsage({ nodeId: "n", records: [new Uint8Array()] }, withCallOptions({})), "records[0]"],
    [() => usage.recordUsage({ nodeId: "n", records: [new Uint8Array(65_537)] }, withCallOptions({})), "records[0]"],
    [() => usage.queryUsage({}, by(reader)), "query"],
    [() => usage.queryUsage({ query: query(), pageSize: 10_001 }, by(reader)), "page_size"],
    [() => usage.queryUsage({ query: query(), pageSize: -1 }, by(reader)), "page_size"],
    [() => usage.listUsageRecords({ pageSize: 1_001 }, by(reader)), "page_size"],
    [() => usage.listUsageRecords({ requestId: "x" }, by(reader)), "request_id"],
    [() => usage.listUsageRecords({ pageToken: "!" }, by(reader)), "page_token"],
    [() => usage.listUsageRecords({ projectId: "No" }, by(admin)), "project_id"],
  ];
  for (const [work, param] of works) {
    expect(await told(work())).toMatchObject({ reason: "INVALID_ARGUMENT", facts: { param } });
  }
});

test("pages are bound to their request", async () => {
  await send(Array.from({ length: 25 }, (_, n) => usageRecord(nextId(), nowMs, { keyId: `key${n % 5}` })));
  const { usage } = harness;
  const listed: string[] = [];
  for (let pageToken = ""; ; ) {
    const page = await usage.listUsageRecords({ pageSize: 10, pageToken }, by(reader));
    listed.push(...page.records.map(({ requestId }) => requestId));
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  expect(listed).toHaveLength(25);
  expect(listed).toEqual([...new Set(listed)].sort().reverse());
  const byKey = query({ groupBy: [UsageGroup.KEY], step: TimeStep.DAY });
  const first = await usage.queryUsage({ query: byKey, pageSize: 2 }, by(reader));
  expect(first.rows.map(({ keyId }) => keyId)).toEqual(["key0", "key1"]);
  const second = await usage.queryUsage({ query: byKey, pageSize: 3, pageToken: first.nextPageToken }, by(reader));
  expect(second.rows.map(({ keyId }) => keyId)).toEqual(["key2", "key3", "key4"]);
  expect(second.nextPageToken).toBe("");
  const { nextPageToken } = await usage.listUsageRecords({ pageSize: 10 }, by(reader));
  const foreign = [
    () => usage.queryUsage({ query: query(), pageToken: first.nextPageToken }, by(reader)),
    () => usage.queryUsage({ projectId: "acme-two", query: byKey, pageToken: first.nextPageToken }, by(orgReader)),
    () => usage.queryOrgUsage({ query: byKey, pageToken: first.nextPageToken }, by(orgReader)),
    () => usage.queryUsage({ query: byKey, pageToken: nextPageToken }, by(reader)),
    () => usage.listUsageRecords({ pageToken: first.nextPageToken }, by(reader)),
    () => usage.listUsageRecords({ projectId: "acme-two", pageToken: nextPageToken }, by(orgReader)),
    () => usage.listUsageRecords({ filter: { models: ["m"] }, pageToken: nextPageToken }, by(reader)),
  ];
  for (const work of foreign) {
    expect(await told(work())).toMatchObject({ reason: "INVALID_ARGUMENT", facts: { param: "page_token" } });
  }
});

test("usage is complete as far as nodes say, and never beyond now", async () => {
  const complete = async () => {
    const { completeUntil } = await harness.usage.queryUsage({ query: query() }, by(reader));
    return completeUntil && timestampMs(completeUntil);
  };
  const becomes = async (ms: number) => {
    clock.advance(1_000);
    await expect.poll(complete, { timeout: 5_000 }).toBe(ms);
  };
  expect(await complete()).toBeUndefined();
  // Without a word on it, what a batch holds tells.
  await send([usageRecord(nextId(), nowMs)]);
  await becomes(nowMs - 120_000);
  await send([], { completeUntil: timestampFromMs(nowMs - 60_000) });
  await becomes(nowMs - 60_000);
  const beforeMs = clock.nowMs();
  await send([], { completeUntil: timestampFromMs(nowMs + dayMs) });
  await becomes(beforeMs);
  await send([runningRecord(nextId(), nowMs, { state: UsageState.PROGRESS })]);
  await becomes(nowMs);
});

test.each([
  ["CET", "Europe/Brussels"],
  ["cet", "Europe/Brussels"],
  ["EET", "Europe/Athens"],
  ["MET", "Europe/Brussels"],
  ["WET", "Europe/Lisbon"],
  ["EST5EDT", "America/New_York"],
  ["GMT", "UTC"],
])("days of %s are those of %s, in summer too", async (timeZone, named) => {
  await send([usageRecord(nextId(), nowMs)]);
  const days = async (zone: string) => {
    const asked = query({ step: TimeStep.DAY, timeZone: zone });
    return (await harness.usage.queryUsage({ query: asked }, by(reader))).rows;
  };
  expect(await days(timeZone)).toEqual(await days(named));
});

test("reports that wait leave room for records, and more of them than may wait are turned away", async () => {
  const { usage } = harness;
  const ask = () => usage.queryUsage({ query: query() }, by(reader));
  const asked = await database
    .kysely()
    .transaction()
    .execute(async (lock) => {
      await sql`lock table usage.nodes in access exclusive mode`.execute(lock);
      const waiting = Array.from({ length: 34 }, ask);
      await send([usageRecord(nextId(), nowMs)]);
      expect(await told(ask())).toEqual({ reason: "OVERLOADED", facts: { limit: "34", retry_after_ms: "5000" } });
      return waiting;
    });
  expect(await Promise.all(asked)).toMatchObject(asked.map(() => ({ rows: [{ requests: 1n }] })));
});

test("with the database away nothing is taken and nothing is told", async () => {
  await using pool = openPool("postgresql://nobody@127.0.0.1:1/none", { log: pino({ level: "silent" }) });
  await using away = startUsage(pool.kysely(), { clock, retentionMs });
  const works = [
    () =>
      away.usage.recordUsage({ nodeId: "n", records: [bytesOf(usageRecord(nextId(), nowMs))] }, withCallOptions({})),
    () => away.usage.recordUsage({ nodeId: "n", records: [Uint8Array.from([1])] }, withCallOptions({})),
    () => away.usage.queryUsage({ query: query() }, by(reader)),
    () => away.usage.queryUsage({ query: query({ step: TimeStep.DAY }) }, by(reader)),
    () => away.usage.listUsageRecords({}, by(reader)),
  ];
  for (const work of works) {
    expect(await told(work())).toEqual({
      reason: "STORE_UNAVAILABLE",
      facts: { store: "usage store", retry_after_ms: "1000" },
    });
  }
});
