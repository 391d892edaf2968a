import { sql } from "kysely";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { migrations } from "../../services/auth/migrations/migrations.ts";
import type { AuthStore, NewKey, Writer } from "../../services/auth/store.ts";
import { type AuthTables, postgresAuthStore } from "../../services/auth/store-postgres.ts";
import { fail, WeirError } from "../../services/runtime/errors/fail.ts";
import { openPool } from "../../services/runtime/postgres/pool.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { acme, anybody, bounds, makeKey, makeTenants, newKey, resourceOf } from "./auth-store.ts";

let database: TestDatabase;
let store: AuthStore;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: { auth: migrations } });
  store = postgresAuthStore(database.kysely<AuthTables>(), database.kysely<AuthTables>());
});

afterAll(() => database[Symbol.asyncDispose]());

beforeEach(async () => {
  const db = database.kysely<AuthTables>();
  await sql`truncate auth.keys, auth.projects, auth.orgs, auth.peppers`.execute(db);
  await sql`update auth.state set first_key_id = null`.execute(db);
  await store.installation.keepPeppers(new Map([[1, "one"]]));
});

const tenants = () => makeTenants(store);
/** A page that ends by its limit. */
const bytesMax = 1e6;
const createIn = (projectId: string, over: Partial<NewKey> = {}) => makeKey(store, projectId, over);

async function reasonOf(work: Promise<unknown>): Promise<ErrorReason | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof WeirError) return error.reason;
    throw error;
  }
}

test("a key is kept whole", async () => {
  await tenants();
  const startMs = Date.UTC(2026, 0, 1, 0, 0, 0, 123);
  const expireMs = Date.UTC(2036, 11, 31, 23, 59, 59, 999);
  const labels = { team: "a'b\"c;--", __proto__: "no", "%": "$1" };
  const key = newKey({ startMs, expireMs, labels, reach: Reach.ORG, name: "' OR 1=1--", creatorKeyId: "maker" });
  const kept = resourceOf(await store.keys.create(acme, key, bounds, anybody));
  expect(kept).toMatchObject({
    id: key.id,
    orgId: "acme",
    projectId: "acme-one",
    name: "' OR 1=1--",
    reach: Reach.ORG,
    permissions: ["models.invoke"],
    models: { all: false, names: ["m", "qwen-*"] },
    startMs,
    expireMs,
    labels: { team: "a'b\"c;--", "%": "$1" },
    creatorKeyId: "maker",
    revokeMs: undefined,
  });
  expect(await store.keys.get(acme, key.id)).toEqual(kept);
  const { found } = await store.credentials.find(key.id);
  expect(found?.key).toEqual(kept);
  expect(found?.proof.pepperVersion).toBe(1);
  expect([...(found?.proof.mac ?? [])]).toEqual([...key.mac]);
});

test("a create is made once, however often it is asked for", async () => {
  await tenants();
  const key = newKey();
  const outcomes = await Promise.all(
    Array.from({ length: 10 }, (_, n) => store.keys.create(acme, { ...key, id: `${key.id}x${n}` }, bounds, anybody)),
  );
  expect(outcomes.map(({ kind }) => kind).sort()).toEqual(["created", ...Array.from({ length: 9 }, () => "repeated")]);
  expect(new Set(outcomes.map((outcome) => resourceOf(outcome).id)).size).toBe(1);
  const other = { ...newKey(), request: { ...key.request, fingerprint: "other" } };
  expect((await store.keys.create(acme, other, bounds, anybody)).kind).toBe("request_used");
  expect((await store.keys.create({ ...acme, projectId: "acme-two" }, other, bounds, anybody)).kind).toBe("created");
  expect((await store.keys.create(acme, newKey({ id: other.id }), bounds, anybody)).kind).toBe("id_taken");
});

test("tenants are made once too, under ids of their own", async () => {
  const org = { id: "acme", name: "Acme", request: { id: "r", fingerprint: "f" } };
  expect((await store.tenants.createOrg(org)).kind).toBe("created");
  expect((await store.tenants.createOrg(org)).kind).toBe("repeated");
  expect((await store.tenants.createOrg({ ...org, request: { id: "r", fingerprint: "g" } })).kind).toBe("request_used");
  expect((await store.tenants.createOrg({ ...org, request: { id: "s", fingerprint: "f" } })).kind).toBe("id_taken");
  const project = { ...org, id: "p", orgId: "acme" };
  expect((await store.tenants.createProject(project)).kind).toBe("created");
  expect((await store.tenants.createProject(project)).kind).toBe("repeated");
  expect((await store.tenants.createProject({ ...project, request: { id: "r", fingerprint: "g" } })).kind).toBe(
    "request_used",
  );
  expect((await store.tenants.createProject({ ...project, request: { id: "s", fingerprint: "f" } })).kind).toBe(
    "id_taken",
  );
  expect((await store.tenants.createProject({ ...project, orgId: "nobody" })).kind).toBe("no_parent");
});

test("whoever is bound to an organisation sees and changes nothing of another's", async () => {
  await tenants();
  const theirs = await createIn("umbrella-one");
  const reach = { projectId: "umbrella-one", orgId: "acme" };
  expect(await store.keys.get(reach, theirs.id)).toBeUndefined();
  expect(await store.keys.list(reach, { limit: 10, bytesMax, before: undefined, revoked: true })).toEqual({
    keys: [],
    more: false,
  });
  expect(await store.keys.update(reach, theirs.id, "", () => ({ ...theirs, name: "mine" }))).toBeUndefined();
  expect(await store.keys.revoke(reach, theirs.id, "", anybody)).toBeUndefined();
  expect((await store.keys.create(reach, newKey(), bounds, anybody)).kind).toBe("no_parent");
  expect(await store.tenants.getProject(reach)).toBeUndefined();
  expect(await store.tenants.renameProject(reach, "mine")).toBeUndefined();
  // Nor of another project, by the key's id.
  expect(await store.keys.get(acme, theirs.id)).toBeUndefined();
  expect(await store.keys.revoke(acme, theirs.id, "", anybody)).toBeUndefined();
  expect(await store.keys.get({ ...reach, orgId: "umbrella" }, theirs.id)).toEqual(theirs);
});

test("keys are listed newest first, in pages, with the revoked ones if asked", async () => {
  await tenants();
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.unshift((await createIn("acme-one")).id);
  await createIn("acme-two");
  const revokedId = ids[2] ?? "";
  await store.keys.revoke(acme, revokedId, "", anybody);
  const page = async (before: bigint | undefined, revoked: boolean) =>
    store.keys.list(acme, { limit: 2, bytesMax, before, revoked });
  const first = await page(undefined, true);
  const second = await page(first.keys.at(-1)?.createRevision, true);
  const third = await page(second.keys.at(-1)?.createRevision, true);
  expect([first, second, third].map(({ more }) => more)).toEqual([true, true, false]);
  expect([first, second, third].flatMap(({ keys }) => keys.map(({ id }) => id))).toEqual(ids);
  const live = await store.keys.list(acme, { limit: 10, bytesMax, before: undefined, revoked: false });
  expect(live.keys.map(({ id }) => id)).toEqual(ids.filter((id) => id !== revokedId));
});

test("a page of long keys ends with the one that reaches its bytes", async () => {
  await tenants();
  const long = { models: { all: false, names: ["m".repeat(400), "n".repeat(600)] } };
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.unshift((await createIn("acme-one", long)).id);
  const page = async (bytes: number, before?: bigint) =>
    store.keys.list(acme, { limit: 10, bytesMax: bytes, before, revoked: true });
  const first = await page(2_000);
  expect(first).toMatchObject({ keys: ids.slice(0, 2).map((id) => ({ id })), more: true });
  const rest = await page(10_000, first.keys.at(-1)?.createRevision);
  expect(rest).toMatchObject({ keys: ids.slice(2).map((id) => ({ id })), more: false });
  // One key at least.
  expect((await page(1)).keys.map(({ id }) => id)).toEqual(ids.slice(0, 1));
});

test("a project and an organisation have only so many keys that were not revoked", async () => {
  await tenants();
  const few = { perProject: 2, perOrg: 3 };
  const create = (projectId: string, key = newKey()) => store.keys.create({ ...acme, projectId }, key, few, anybody);
  const first = newKey();
  expect((await create("acme-one", first)).kind).toBe("created");
  expect((await create("acme-one")).kind).toBe("created");
  expect((await create("acme-one")).kind).toBe("project_full");
  expect((await create("acme-one", first)).kind).toBe("repeated");
  expect((await create("acme-two")).kind).toBe("created");
  expect((await create("acme-two")).kind).toBe("org_full");
  expect((await create("umbrella-one")).kind).toBe("created");
  await store.keys.revoke(acme, first.id, "", anybody);
  expect((await create("acme-one")).kind).toBe("created");
});

test("a key counts once, from its creation until it is revoked, also when it has expired", async () => {
  await tenants();
  const two = { perProject: 2, perOrg: 2 };
  const create = (key: NewKey) => store.keys.create(acme, key, two, anybody);
  const [first, second] = [newKey({ expireMs: 1 }), newKey()];
  expect((await create(first)).kind).toBe("created");
  for (const [kind, key] of [
    ["repeated", first],
    ["id_taken", newKey({ id: first.id })],
    ["request_used", newKey({ request: { ...first.request, fingerprint: "other" } })],
  ] as const) {
    expect((await create(key)).kind).toBe(kind);
  }
  expect((await create(second)).kind).toBe("created");
  expect((await create(newKey())).kind).toBe("project_full");
  // Twice revoked is one place.
  for (let n = 0; n < 2; n++) await store.keys.revoke(acme, second.id, "", anybody);
  expect((await create(newKey())).kind).toBe("created");
  expect((await create(newKey())).kind).toBe("project_full");
});

test("what a create reads of the keys does not grow with the organisation's projects", async () => {
  await tenants();
  // One connection: what it read is counted when it says so.
  await using pool = openPool(database.url, { log: pino({ level: "silent" }), connectionsMax: 1 });
  const alone = pool.kysely<AuthTables>();
  const scans = async () => {
    await sql`select pg_stat_force_next_flush()`.execute(alone);
    const { rows } = await sql<{ scans: number }>`
      select (seq_scan + idx_scan)::int as scans from pg_stat_user_tables
      where schemaname = 'auth' and relname = 'keys'`.execute(alone);
    return rows[0]?.scans ?? 0;
  };
  for (let n = 0; n < 50; n++) {
    const project = { id: `acme-${n}`, orgId: "acme", name: "p", request: { id: `many${n}`, fingerprint: "" } };
    await store.tenants.createProject(project);
  }
  const before = await scans();
  const kept = await postgresAuthStore(alone, alone).keys.create(acme, newKey(), bounds, anybody);
  expect(kept.kind).toBe("created");
  expect(await scans()).toBeLessThan(before + 10);
});

test("tenants are listed by id, in pages", async () => {
  await tenants();
  expect((await store.tenants.listOrgs({ limit: 1, after: "" })).map(({ id }) => id)).toEqual(["acme"]);
  expect((await store.tenants.listOrgs({ limit: 5, after: "acme" })).map(({ id }) => id)).toEqual(["umbrella"]);
  const projects = await store.tenants.listProjects("acme", { limit: 5, after: "acme-one" });
  expect(projects.map(({ id }) => id)).toEqual(["acme-two"]);
  // Patterns are text.
  expect(await store.tenants.listProjects("%", { limit: 5, after: "" })).toEqual([]);
});

test("an update changes what its callback says, and nothing when that throws", async () => {
  await tenants();
  const key = await createIn("acme-one");
  const before = await store.credentials.changesAfter(1n, 1_000);
  const refused = store.keys.update(acme, key.id, "", () => {
    throw fail(ErrorReason.GRANT_EXCEEDS_GRANTOR, { permission: "x" });
  });
  expect(await reasonOf(refused)).toBe(ErrorReason.GRANT_EXCEEDS_GRANTOR);
  expect(await store.keys.get(acme, key.id)).toEqual(key);
  expect((await store.credentials.changesAfter(1n, 1_000)).revision).toBe(before.revision);
  const changed = await store.keys.update(acme, key.id, "", (current) => ({
    ...current,
    name: "new",
    expireMs: 1_000,
  }));
  expect(changed).toMatchObject({ ...key, name: "new", expireMs: 1_000, updateMs: expect.any(Number) });
});

test("a key is revoked once and for good", async () => {
  await tenants();
  const key = await createIn("acme-one");
  const first = await store.keys.revoke(acme, key.id, "", anybody);
  expect(first?.revokeMs).toBeTypeOf("number");
  const { revision } = await store.credentials.find(key.id);
  expect(await store.keys.revoke(acme, key.id, "", anybody)).toEqual(first);
  expect((await store.credentials.find(key.id)).revision).toBe(revision);
});

test("a write shows the key that asks for it, as it is by then, and is not done if that does not do", async () => {
  await tenants();
  const maker = await createIn("umbrella-one", { reach: Reach.INSTALLATION });
  const key = await createIn("acme-one");
  const shown: (Writer | undefined)[] = [];
  const look = (writer: Writer | undefined): void => {
    shown.push(writer);
    if (writer?.key.revokeMs !== undefined) throw fail(ErrorReason.KEY_REVOKED, { key_id: writer.key.id });
  };
  const writes = [
    () => store.keys.create(acme, newKey({ creatorKeyId: maker.id }), bounds, look),
    () => store.keys.update(acme, key.id, maker.id, (current, writer) => ({ ...current, name: String(look(writer)) })),
    () => store.keys.revoke(acme, key.id, maker.id, (_key, writer) => look(writer)),
  ];
  for (const write of writes.slice(0, 2)) expect(await reasonOf(write())).toBeUndefined();
  await store.keys.update({ ...acme, projectId: "umbrella-one" }, maker.id, "nobody", (current, writer) => {
    expect(writer).toBeUndefined();
    return { ...current, permissions: ["usage.read"] };
  });
  expect(await reasonOf(writes[0]?.() ?? Promise.resolve())).toBeUndefined();
  await store.keys.revoke({ ...acme, projectId: "umbrella-one" }, maker.id, "", anybody);
  for (const write of writes) expect(await reasonOf(write())).toBe(ErrorReason.KEY_REVOKED);
  expect(shown.map((writer) => [writer?.key.id, writer?.key.permissions])).toEqual([
    ...Array.from({ length: 2 }, () => [maker.id, ["models.invoke"]]),
    ...Array.from({ length: 4 }, () => [maker.id, ["usage.read"]]),
  ]);
  for (const writer of shown) expect(Math.abs((writer?.nowMs ?? 0) - Date.now())).toBeLessThan(60_000);
  expect(await store.keys.get(acme, key.id)).toMatchObject({ name: "undefined", revokeMs: undefined });
});

test("the first key is made once, by whoever comes first, and replaced when that is asked for", async () => {
  const first = Array.from({ length: 5 }, () => newKey());
  const results = await Promise.all(first.map((key) => store.installation.keepFirstKey(key, false)));
  expect(results.filter(({ made: wasMade }) => wasMade)).toHaveLength(1);
  expect(new Set(results.map(({ keyId }) => keyId)).size).toBe(1);
  const keyId = results[0]?.keyId ?? "";
  expect(await store.installation.firstKeyId()).toBe(keyId);
  expect(await store.keys.get({ projectId: "default", orgId: "default" }, keyId)).toMatchObject({ creatorKeyId: "" });
  const next = newKey();
  expect(await store.installation.keepFirstKey(next, true)).toEqual({ keyId: next.id, made: true });
  expect(await store.installation.firstKeyId()).toBe(next.id);
  expect((await store.credentials.find(keyId)).found?.key.revokeMs).toBeUndefined();
  expect(await store.tenants.getOrg("default")).toMatchObject({ name: "Default" });
});

test("a pepper's fingerprint is kept as it was first told", async () => {
  await store.installation.keepPeppers(new Map([[2, "two"]]));
  const kept = await store.installation.keepPeppers(
    new Map([
      [1, "another"],
      [3, "three"],
    ]),
  );
  expect(Object.fromEntries(kept)).toEqual({ 1: "one", 2: "two", 3: "three" });
});

test("times are the database's", async () => {
  const { nowMs } = await store.credentials.find("nobody");
  expect(Math.abs(nowMs - Date.now())).toBeLessThan(60_000);
});

test("a database that is away is said to be away, and what it said stays inside", async () => {
  await using away = openPool("postgresql://weir@127.0.0.1:1/weir", { log: pino({ level: "silent" }) });
  const lost = postgresAuthStore(away.kysely<AuthTables>(), away.kysely<AuthTables>());
  const works = [
    lost.credentials.find("x"),
    lost.credentials.changesAfter(1n, 1),
    lost.credentials.revokedOf(["x"]),
    lost.credentials.orgOf("x"),
    lost.credentials.hasOrg("x"),
    lost.keys.get(acme, "x"),
    lost.keys.create(acme, newKey(), bounds, anybody),
    lost.keys.revoke(acme, "x", "", anybody),
    lost.tenants.getOrg("x"),
    lost.installation.firstKeyId(),
  ];
  for (const work of works) {
    const error: unknown = await work.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WeirError);
    expect(error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE, retryAfterMs: 1_000 });
    expect(String(error)).not.toMatch(/127\.0\.0\.1|ECONN/);
  }
});

test("a statement that the database refuses is a defect, and what it said stays inside", async () => {
  await tenants();
  const error: unknown = await store.keys
    .create(acme, newKey({ name: "a\0b" }), bounds, anybody)
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ reason: ErrorReason.INTERNAL });
  expect(String(error)).not.toMatch(/UTF8|byte sequence|auth\.keys/);
});
