import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";
import { sql } from "kysely";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type Limit, LimitSpecSchema, SubjectKind, SubjectSchema } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { LimitCreated, LimitStore, NewLimit } from "../../services/quota/limit-store.ts";
import { migrations } from "../../services/quota/migrations/migrations.ts";
import { postgresLimitStore, type QuotaTables } from "../../services/quota/store-postgres-limits.ts";
import { fail, WeirError } from "../../services/runtime/errors/fail.ts";
import { openPool } from "../../services/runtime/postgres/pool.ts";
import { specJson } from "../fakes/limits.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";

let database: TestDatabase;
let store: LimitStore;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { quota: migrations } });
  store = postgresLimitStore(database.kysely<QuotaTables>());
});
afterAll(() => database[Symbol.asyncDispose]());
beforeEach(() => sql`truncate quota.limits`.execute(database.kysely<QuotaTables>()));

const bounds = { perSubject: 1_000, perOrg: 1_000 };
let made = 0;

const specOf = (over: JsonObject = {}) => fromJson(LimitSpecSchema, specJson(over));

function newLimit(over: Partial<NewLimit> = {}): NewLimit {
  made += 1;
  return {
    id: `limit-${made}`,
    orgId: "acme",
    spec: specOf(),
    requestId: `request-${made}`,
    fingerprint: "same",
    ...over,
  };
}

function madeOf(created: LimitCreated): Limit {
  if (created.kind !== "made") throw new Error(created.kind);
  return created.limit;
}

const make = async (over: Partial<NewLimit> = {}) => madeOf(await store.create(newLimit(over), bounds));
const idsOf = (limits: readonly { readonly limit: Limit }[]) => limits.map(({ limit }) => limit.id);
const everything = { limit: 1_000, before: undefined, subject: undefined };

test("a limit is kept as it was set, to the last of its large numbers", async () => {
  const spec = specOf({
    name: "Geld für März ☂",
    dimension: "DIMENSION_COST",
    count: null,
    costNanos: "999999999999999999",
    currency: "EUR",
    rate: null,
    budget: { period: "CALENDAR_PERIOD_MONTH", timeZone: "Europe/Paris" },
    models: ["qwen-*", "llama"],
    operations: ["OPERATION_EMBED"],
    mode: "LIMIT_MODE_SHADOW",
    onFailure: "ON_FAILURE_OPEN",
    overrun: "OVERRUN_CUT",
  });
  const limit = await make({ spec });
  expect(limit).toMatchObject({ orgId: "acme", spec });
  expect(await store.get("acme", limit.id)).toEqual(limit);
  expect(limit.createTime).toEqual(limit.updateTime);
});

test("the same request makes one limit, and another request none", async () => {
  const request = newLimit();
  const first = await store.create(request, bounds);
  expect(await store.create({ ...request, id: "another" }, bounds)).toEqual(first);
  expect(await store.create({ ...request, id: "another", fingerprint: "other" }, bounds)).toEqual({
    kind: "request_used",
  });
  expect(madeOf(await store.create({ ...request, id: "another", orgId: "umbrella" }, bounds)).id).toBe("another");
  // Remembered beyond its deletion.
  await store.delete("acme", request.id, () => {});
  expect(madeOf(await store.create({ ...request, id: "third" }, bounds)).id).toBe(request.id);
  expect(await store.get("acme", request.id)).toBeUndefined();
});

test("as many as may be, and no more, also by requests at the same time", async () => {
  const few = { perSubject: 3, perOrg: 5 };
  const one = await Promise.all(Array.from({ length: 8 }, () => store.create(newLimit(), few)));
  expect(one.filter(({ kind }) => kind === "made")).toHaveLength(3);
  expect(one.filter(({ kind }) => kind === "subject_full")).toHaveLength(5);
  const other = specOf({ subject: { kind: "SUBJECT_KIND_KEY", id: "acme-one" } });
  const more = await Promise.all(Array.from({ length: 3 }, () => store.create(newLimit({ spec: other }), few)));
  expect(more.map(({ kind }) => kind).toSorted()).toEqual(["made", "made", "org_full"]);
  const [first] = await store.list("acme", everything);
  await store.delete("acme", first?.limit.id ?? "", () => {});
  expect((await store.create(newLimit({ spec: other }), few)).kind).toBe("made");
});

test("an organisation's limits are listed newest first, in pages, or those of a subject", async () => {
  const ids: string[] = [];
  for (let index = 0; index < 5; index++) {
    const subject = index % 2 === 0 ? { kind: "SUBJECT_KIND_KEY", id: "k" } : { kind: "SUBJECT_KIND_PROJECT", id: "k" };
    ids.unshift((await make({ spec: specOf({ subject }) })).id);
  }
  await make({ orgId: "umbrella" });
  const page = await store.list("acme", { ...everything, limit: 2 });
  expect(idsOf(page)).toEqual(ids.slice(0, 2));
  await make();
  const rest = await store.list("acme", { ...everything, before: page.at(-1)?.createRevision });
  expect(idsOf(rest)).toEqual(ids.slice(2));
  const subject = create(SubjectSchema, { kind: SubjectKind.PROJECT, id: "k" });
  expect(idsOf(await store.list("acme", { ...everything, subject }))).toEqual([ids[1], ids[3]]);
});

test("a change is made of what is there, and what throws changes nothing", async () => {
  const limit = await make();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const changed = await store.update("acme", limit.id, ({ spec }) => ({ ...(spec ?? specOf()), name: "renamed" }));
  expect(changed?.spec).toMatchObject({ name: "renamed", ceiling: { value: 100n } });
  expect(changed?.revision).toBeGreaterThan(limit.revision);
  expect(changed?.createTime).toEqual(limit.createTime);
  expect(changed?.updateTime).not.toEqual(limit.updateTime);
  const refusal = fail(ErrorReason.GRANT_EXCEEDS_GRANTOR);
  const refuse = () => {
    throw refusal;
  };
  await expect(store.update("acme", limit.id, refuse)).rejects.toBe(refusal);
  await expect(store.delete("acme", limit.id, refuse)).rejects.toBe(refusal);
  expect(await store.get("acme", limit.id)).toEqual(changed);
  expect(await store.update("acme", "nothing", refuse)).toBeUndefined();
});

test("of another organisation a limit is not there", async () => {
  const limit = await make();
  const touch = () => {
    throw new Error("it was found");
  };
  expect(await store.get("umbrella", limit.id)).toBeUndefined();
  expect(await store.update("umbrella", limit.id, touch)).toBeUndefined();
  await store.delete("umbrella", limit.id, touch);
  expect(await store.list("umbrella", everything)).toEqual([]);
  expect(await store.get("acme", limit.id)).toEqual(limit);
});

test("changes come by revision, deletions among them, and from nothing on only what is there", async () => {
  const start = (await store.changesAfter(0n, 10)).revision;
  const a = await make();
  const b = await make();
  await store.update("acme", a.id, ({ spec }) => spec ?? specOf());
  await store.delete("acme", b.id, () => {});
  const told = ({ changes }: Awaited<ReturnType<LimitStore["changesAfter"]>>) =>
    changes.map(({ limit, deleted }) => [limit.id, deleted, limit.revision - start]);
  expect(told(await store.changesAfter(start, 10))).toEqual([
    [a.id, false, 3n],
    [b.id, true, 4n],
  ]);
  expect(told(await store.changesAfter(start, 1))).toEqual([[a.id, false, 3n]]);
  expect(told(await store.changesAfter(start + 3n, 10))).toEqual([[b.id, true, 4n]]);
  expect(told(await store.changesAfter(0n, 10))).toEqual([[a.id, false, 3n]]);
  expect((await store.changesAfter(start + 4n, 10)).changes).toEqual([]);
  expect((await store.changesAfter(0n, 10)).revision).toBe(start + 4n);
});

test("a reader loses none of the changes that many writers make at once", async () => {
  const seen = new Set<string>();
  let { revision } = await store.changesAfter(0n, 1);
  const read = async () => {
    const reading = await store.changesAfter(revision, 1_000);
    for (const { limit } of reading.changes) seen.add(limit.id);
    revision = reading.revision;
  };
  const writes = Array.from({ length: 60 }, () => make());
  const writing = Promise.all(writes);
  let over = false;
  void writing.finally(() => {
    over = true;
  });
  while (!over) await read();
  await read();
  expect(seen.size).toBe((await writing).length);
});

test("a database that is away is told as such", async () => {
  await using pool = openPool("postgres://nobody@127.0.0.1:1/nothing", { log: pino({ level: "silent" }) });
  const away = postgresLimitStore(pool.kysely<QuotaTables>());
  for (const work of [
    () => away.get("acme", "x"),
    () => away.create(newLimit(), bounds),
    () => away.changesAfter(0n, 1),
  ]) {
    const error = await work().catch((thrown: unknown) => thrown);
    expect(error instanceof WeirError && error.reason).toBe(ErrorReason.STORE_UNAVAILABLE);
  }
});
