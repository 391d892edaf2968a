import { fromJson, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Operation, SubjectKind } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  CreateLimitRequestSchema,
  type UpdateLimitRequest,
  type UpdateLimitRequestSchema,
} from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { specJson } from "../fakes/limits.ts";
import { principal, told } from "./auth-harness.ts";
import { type QuotaHarness, startQuota } from "./quota-harness.ts";

let harness: QuotaHarness;

beforeAll(async () => {
  harness = await startQuota();
});
afterAll(() => harness[Symbol.asyncDispose]());

const by = (caller: Principal) => withCallOptions({ principal: caller });
const admin = principal();
const orgAdmin = principal({ reach: Reach.ORG, permissions: ["limits.read", "limits.write"] });
const member = principal({ reach: Reach.PROJECT, permissions: ["limits.read", "limits.write"] });
const stranger = principal({ reach: Reach.ORG, orgId: "umbrella", projectId: "umbrella-one" });

let requests = 0;
const requestId = () => `request-${++requests}`;
const requestOf = (spec: JsonObject, more: JsonObject = {}) =>
  fromJson(CreateLimitRequestSchema, { requestId: requestId(), spec: specJson(spec), ...more });

async function make(spec: JsonObject = {}, caller: Principal = admin, more: JsonObject = {}) {
  const { limit } = await harness.limits.createLimit(requestOf(spec, more), by(caller));
  if (!limit) throw new Error("no limit");
  return limit;
}

async function keyOf(projectId: string) {
  const { key } = await harness.auth.keys.createKey({ requestId: requestId(), name: "k", projectId }, by(admin));
  return key?.id ?? "";
}

const subject = (kind: string, id = "") => ({ subject: { kind: `SUBJECT_KIND_${kind}`, ...(id ? { id } : {}) } });

test("a limit is made, shown, listed, changed and removed", async () => {
  const key = await keyOf("acme-two");
  const limit = await make(subject("KEY", key), orgAdmin);
  expect(limit).toMatchObject({
    orgId: "acme",
    spec: { name: "a limit", subject: { kind: SubjectKind.KEY, id: key } },
  });
  expect(limit.id).toMatch(/^limit-[0-9a-z]{16}$/);
  expect((await harness.limits.getLimit({ limitId: limit.id }, by(orgAdmin))).limit).toEqual(limit);
  const listed = await harness.limits.listLimits({ subject: { kind: SubjectKind.KEY, id: key } }, by(orgAdmin));
  expect(listed).toMatchObject({ limits: [limit], nextPageToken: "" });
  const update = { limitId: limit.id, count: 7n, name: "ignored", updateMask: { paths: ["count"] } };
  const { limit: changed } = await harness.limits.updateLimit(update, by(orgAdmin));
  expect(changed?.spec).toEqual({ ...limit.spec, ceiling: { case: "count", value: 7n } });
  expect(changed?.revision).toBeGreaterThan(limit.revision);
  for (let times = 0; times < 2; times++) await harness.limits.deleteLimit({ limitId: limit.id }, by(orgAdmin));
  expect(await told(harness.limits.getLimit({ limitId: limit.id }, by(orgAdmin)))).toEqual({
    reason: "NOT_FOUND",
    facts: { resource: "limit", id: limit.id },
  });
  expect((await told(harness.limits.updateLimit(update, by(orgAdmin)))).reason).toBe("NOT_FOUND");
});

test("the same request makes one limit, whatever the order of its lists, and another request none", async () => {
  const request = requestOf({ models: ["a", "b"], operations: ["OPERATION_EMBED", "OPERATION_GENERATE"] });
  const first = await harness.limits.createLimit(request, by(admin));
  const again = fromJson(CreateLimitRequestSchema, {
    requestId: request.requestId,
    orgId: "acme",
    spec: specJson({ models: ["b", "a"], operations: ["OPERATION_GENERATE", "OPERATION_EMBED"] }),
  });
  const answers = await Promise.all(Array.from({ length: 5 }, () => harness.limits.createLimit(again, by(orgAdmin))));
  for (const answer of answers) expect(answer).toEqual(first);
  const other = fromJson(CreateLimitRequestSchema, { requestId: request.requestId, spec: specJson({ count: "101" }) });
  expect(await told(harness.limits.createLimit(other, by(admin)))).toEqual({
    reason: "ALREADY_EXISTS",
    facts: { request_id: request.requestId },
  });
});

// Who may write what: a limit is written from above its subject.
const rows: [string, Principal, JsonObject, string][] = [
  ["the installation, from above everything", admin, subject("INSTALLATION"), "none"],
  ["the installation, from within an organisation", orgAdmin, subject("INSTALLATION"), "GRANT_EXCEEDS_GRANTOR"],
  ["an organisation, from above everything", admin, subject("ORG", "acme"), "none"],
  ["an organisation, by its own administrator", orgAdmin, subject("ORG", "acme"), "GRANT_EXCEEDS_GRANTOR"],
  ["another organisation, which is not told to exist", orgAdmin, subject("ORG", "umbrella"), "GRANT_EXCEEDS_GRANTOR"],
  ["no organisation, alike", orgAdmin, subject("ORG", "nowhere"), "GRANT_EXCEEDS_GRANTOR"],
  ["a project, by its organisation's administrator", orgAdmin, subject("PROJECT", "acme-two"), "none"],
  ["a project, by a key of its own", member, subject("PROJECT", "acme-one"), "NOT_FOUND"],
  ["a foreign project", orgAdmin, subject("PROJECT", "umbrella-one"), "NOT_FOUND"],
  [
    "a foreign project, from above, kept under the wrong organisation",
    admin,
    subject("PROJECT", "umbrella-one"),
    "NOT_FOUND",
  ],
  ["a foreign organisation, from above, kept under the wrong one", admin, subject("ORG", "umbrella"), "NOT_FOUND"],
  ["no project", orgAdmin, subject("PROJECT", "nowhere"), "NOT_FOUND"],
  ["what can be no project", orgAdmin, subject("PROJECT", "No.Project_"), "NOT_FOUND"],
  ["no key", orgAdmin, subject("KEY", "nobody"), "NOT_FOUND"],
  ["what can be no key", orgAdmin, subject("KEY", "a-._"), "NOT_FOUND"],
  ["a user, of whom there are none so far", orgAdmin, subject("USER", "ada"), "NOT_FOUND"],
];
test.each(rows)("making a limit on %s", async (_what, caller, spec, reason) => {
  expect((await told(harness.limits.createLimit(requestOf(spec), by(caller)))).reason).toBe(reason);
});

test("a foreign key is not found, and its own organisation's administrator may limit it", async () => {
  const key = await keyOf("umbrella-one");
  const answer = await told(harness.limits.createLimit(requestOf(subject("KEY", key)), by(orgAdmin)));
  expect(answer).toEqual({ reason: "NOT_FOUND", facts: { resource: "key", id: key } });
  expect((await make(subject("KEY", key), stranger)).orgId).toBe("umbrella");
  expect((await make(subject("KEY", key), admin, { orgId: "umbrella" })).orgId).toBe("umbrella");
  expect(
    (await told(harness.limits.createLimit(requestOf(subject("KEY", key), { orgId: "umbrella" }), by(orgAdmin))))
      .reason,
  ).toBe("NOT_FOUND");
  expect(
    (await told(harness.limits.createLimit(requestOf(subject("INSTALLATION"), { orgId: "nowhere" }), by(admin))))
      .reason,
  ).toBe("NOT_FOUND");
});

test("a limit from above is shown to those below and not theirs to touch", async () => {
  const limit = await make(subject("ORG", "acme"));
  expect((await harness.limits.getLimit({ limitId: limit.id }, by(orgAdmin))).limit).toEqual(limit);
  const update = { limitId: limit.id, count: 1_000_000n, updateMask: { paths: ["count"] } };
  const refused = { reason: "GRANT_EXCEEDS_GRANTOR", facts: { permission: "reach INSTALLATION" } };
  expect(await told(harness.limits.updateLimit(update, by(orgAdmin)))).toEqual(refused);
  expect(await told(harness.limits.deleteLimit({ limitId: limit.id }, by(orgAdmin)))).toEqual(refused);
  expect((await harness.limits.getLimit({ limitId: limit.id }, by(admin))).limit).toEqual(limit);
});

test("of another organisation a limit is not there", async () => {
  const limit = await make();
  const named = { limitId: limit.id, count: 1n, updateMask: { paths: ["count"] } };
  expect((await told(harness.limits.getLimit(named, by(stranger)))).reason).toBe("NOT_FOUND");
  expect((await told(harness.limits.getLimit({ ...named, orgId: "acme" }, by(stranger)))).reason).toBe("NOT_FOUND");
  expect((await told(harness.limits.updateLimit(named, by(stranger)))).reason).toBe("NOT_FOUND");
  expect((await told(harness.limits.listLimits({ orgId: "acme" }, by(stranger)))).reason).toBe("NOT_FOUND");
  await harness.limits.deleteLimit(named, by(stranger));
  expect((await harness.limits.getLimit(named, by(admin))).limit).toEqual(limit);
  const ids = (await harness.limits.listLimits({ pageSize: 500 }, by(stranger))).limits.map(({ id }) => id);
  expect(ids).not.toContain(limit.id);
});

test("without the permission nobody reads or writes, whatever else their key may", async () => {
  const reader = principal({ permissions: ["limits.read", "keys.write", "models.invoke"] });
  const writer = principal({ permissions: ["limits.write"] });
  const limit = await make();
  const named = { limitId: limit.id, count: 1n, updateMask: { paths: ["count"] } };
  for (const work of [
    () => harness.limits.createLimit(requestOf({}), by(reader)),
    () => harness.limits.updateLimit(named, by(reader)),
    () => harness.limits.deleteLimit(named, by(reader)),
  ])
    expect(await told(work())).toEqual({ reason: "PERMISSION_DENIED", facts: { permission: "limits.write" } });
  for (const work of [
    () => harness.limits.getLimit(named, by(writer)),
    () => harness.limits.listLimits({}, by(writer)),
    () => harness.limits.getLimitStatus({}, by(writer)),
  ])
    expect(await told(work())).toEqual({ reason: "PERMISSION_DENIED", facts: { permission: "limits.read" } });
  expect((await told(harness.limits.createLimit(requestOf({})))).reason).toBe("CREDENTIAL_MISSING");
});

const money = { dimension: "DIMENSION_COST", count: null, currency: "USD" };
const invalid: [string, JsonObject, string][] = [
  ["a negative count", { count: "-1" }, "spec.count"],
  ["a count above 10^15", { count: "1000000000000001" }, "spec.count"],
  ["the largest count there can be", { count: "9223372036854775807" }, "spec.count"],
  ["negative money", { ...money, costNanos: "-1" }, "spec.cost_nanos"],
  ["money above 10^18", { ...money, costNanos: "1000000000000000001" }, "spec.cost_nanos"],
  ["money, for nothing has a price", { ...money, costNanos: "1" }, "spec.dimension"],
  ["money without a currency", { ...money, costNanos: "1", currency: null }, "spec"],
  ["no ceiling", { count: null }, "spec.ceiling"],
  ["a rate of no time", { rate: { per: "0s" } }, "spec.rate.per"],
  ["a rate of two days", { rate: { per: "172800s" } }, "spec.rate.per"],
  ["a negative burst", { rate: { per: "60s", burst: "-5" } }, "spec.rate.burst"],
  ["a burst of a limit that allows none", { count: "0", rate: { per: "60s", burst: "5" } }, "spec.rate.burst"],
  ["no window", { rate: null }, "spec"],
  ["a window of concurrent requests", { dimension: "DIMENSION_CONCURRENT_REQUESTS" }, "spec"],
  [
    "a zone that is none",
    { rate: null, budget: { period: "CALENDAR_PERIOD_DAY", timeZone: "Mars/Olympus" } },
    "spec.budget.time_zone",
  ],
  ["a budget of no period", { rate: null, budget: {} }, "spec.budget.period"],
  ["no dimension", { dimension: null }, "spec.dimension"],
  ["no name", { name: "" }, "spec.name"],
  ["a name that cannot be kept", { name: "a\0b" }, "spec.name"],
  ["a star in the middle of a model", { models: ["a*b"] }, "spec.models[0]"],
  ["a model twice", { models: ["a", "a"] }, "spec.models"],
  ["sixty-five models", { models: Array.from({ length: 65 }, (_, index) => `m${index}`) }, "spec.models"],
  ["no subject", { subject: null }, "spec.subject"],
  ["a subject without an id", subject("PROJECT"), "spec.subject"],
  ["an installation with an id", subject("INSTALLATION", "x"), "spec.subject"],
];
test.each(invalid)("a limit with %s is refused and named", async (_what, spec, param) => {
  const { reason, facts } = await told(harness.limits.createLimit(requestOf(spec), by(admin)));
  expect([reason, facts["param"]]).toEqual(["INVALID_ARGUMENT", param]);
});

test("the largest and the smallest limits are kept to the last digit", async () => {
  for (const spec of [
    { count: "1000000000000000" },
    { count: "0" },
    { dimension: "DIMENSION_CONCURRENT_REQUESTS", rate: null, count: "1" },
  ]) {
    const limit = await make(spec);
    const kept = (await harness.limits.getLimit({ limitId: limit.id }, by(admin))).limit?.spec?.ceiling.value;
    expect(kept).toBe(BigInt(spec.count));
    await harness.limits.deleteLimit({ limitId: limit.id }, by(admin));
  }
});

type Update = Exclude<MessageInitShape<typeof UpdateLimitRequestSchema>, UpdateLimitRequest>;
const masks: [string, string[], Update, string][] = [
  ["no field", [], {}, "update_mask"],
  ["a field that never changes", ["subject"], {}, "update_mask"],
  ["the dimension", ["dimension"], {}, "update_mask"],
  ["a part of a field", ["rate.burst"], { rate: { per: { seconds: 9n }, burst: 3n } }, "update_mask"],
  ["a field of nobody", ["nmae"], {}, "update_mask"],
  ["money of a limit on requests", ["cost_nanos"], { costNanos: 5n }, "cost_nanos"],
  ["a budget of a rate", ["budget"], { budget: { period: 1 } }, "budget"],
  ["a rate that is not there", ["rate"], {}, "rate"],
  ["an empty name", ["name"], { name: "" }, "name"],
  [
    "a burst that the ceiling forbids",
    ["count", "rate"],
    { count: 0n, rate: { per: { seconds: 9n }, burst: 1n } },
    "rate.burst",
  ],
  ["a negative count", ["count"], { count: -1n }, "count"],
];
test.each(masks)("a change of %s is refused and changes nothing", async (_what, paths, update, param) => {
  const limit = await make();
  const request = { ...update, limitId: limit.id, updateMask: { paths } };
  const { reason, facts } = await told(harness.limits.updateLimit(request, by(admin)));
  expect([reason, facts["param"]]).toEqual(["INVALID_ARGUMENT", param]);
  expect((await harness.limits.getLimit({ limitId: limit.id }, by(admin))).limit).toEqual(limit);
  await harness.limits.deleteLimit({ limitId: limit.id }, by(admin));
});

test("everything that may change of a limit changes, and nothing else", async () => {
  const limit = await make({ count: "5", rate: null, budget: { period: "CALENDAR_PERIOD_DAY" } });
  const change: Update = {
    limitId: limit.id,
    name: "another",
    models: ["qwen-*"],
    operations: [Operation.EMBED],
    count: 9n,
    budget: { period: 3, timeZone: "Asia/Tokyo" },
    mode: 2,
    onFailure: 3,
    overrun: 1,
    updateMask: { paths: ["name", "models", "operations", "count", "budget", "mode", "on_failure", "overrun"] },
  };
  const { limit: changed } = await harness.limits.updateLimit(change, by(admin));
  expect(changed?.spec).toMatchObject({
    name: "another",
    models: ["qwen-*"],
    operations: [Operation.EMBED],
    ceiling: { case: "count", value: 9n },
    window: { case: "budget", value: { period: 3, timeZone: "Asia/Tokyo" } },
    mode: 2,
    onFailure: 3,
    overrun: 1,
    dimension: limit.spec?.dimension,
    subject: limit.spec?.subject,
  });
  await harness.limits.deleteLimit({ limitId: limit.id }, by(admin));
});

test("limits are listed in pages, newest first, without repeating what is made meanwhile", async () => {
  const key = await keyOf("umbrella-two");
  const ids: string[] = [];
  for (let index = 0; index < 5; index++) ids.unshift((await make(subject("KEY", key), stranger)).id);
  const page = (request: object) =>
    harness.limits.listLimits({ pageSize: 2, subject: { kind: SubjectKind.KEY, id: key }, ...request }, by(stranger));
  const first = await page({});
  await make(subject("KEY", key), stranger);
  const second = await page({ pageToken: first.nextPageToken });
  const third = await page({ pageToken: second.nextPageToken });
  expect([first, second, third].map(({ limits }) => limits.map(({ id }) => id))).toEqual([
    ids.slice(0, 2),
    ids.slice(2, 4),
    ids.slice(4),
  ]);
  expect(third.nextPageToken).toBe("");
  for (const pageToken of [
    "x",
    Buffer.from("1; drop").toString("base64url"),
    Buffer.from("9".repeat(40)).toString("base64url"),
  ])
    expect((await told(page({ pageToken }))).reason).toBe("INVALID_ARGUMENT");
  for (const pageSize of [-1, 501]) expect((await told(page({ pageSize }))).reason).toBe("INVALID_ARGUMENT");
});

test("a subject has at most 50 limits", async () => {
  const key = await keyOf("acme-two");
  await Promise.all(Array.from({ length: 50 }, () => make(subject("KEY", key))));
  const { reason, facts } = await told(harness.limits.createLimit(requestOf(subject("KEY", key)), by(admin)));
  expect([reason, facts["param"]]).toEqual(["INVALID_ARGUMENT", "spec.subject"]);
  const { limits } = await harness.limits.getLimitStatus({ projectId: "acme-two", keyId: key }, by(admin));
  expect(limits.filter(({ limit }) => limit?.spec?.subject?.id === key)).toHaveLength(50);
});

test("the status tells every limit that counts a project's requests, the fullest first", async () => {
  const key = await keyOf("umbrella-one");
  const made = {
    key: await make({ ...subject("KEY", key), count: "0" }, stranger),
    project: await make({ ...subject("PROJECT", "umbrella-one"), models: ["qwen-*"] }, stranger),
    org: await make(subject("ORG", "umbrella"), admin, { orgId: "umbrella" }),
    other: await make(subject("PROJECT", "umbrella-two"), stranger),
  };
  const statusOf = async (request: { projectId?: string; keyId?: string; model?: string }, caller: Principal) =>
    (await harness.limits.getLimitStatus(request, by(caller))).limits;
  const idsOf = async (...asked: Parameters<typeof statusOf>) =>
    (await statusOf(...asked))
      .map(({ limit }) => limit?.id)
      .filter((id) => Object.values(made).some((one) => one.id === id));

  const ofProject = { ...stranger, reach: Reach.PROJECT, keyId: key };
  expect(await idsOf({}, ofProject)).toEqual([made.key.id, made.org.id, made.project.id]);
  expect(await idsOf({ model: "llama" }, ofProject)).toEqual([made.key.id, made.org.id]);
  expect(await idsOf({ projectId: "umbrella-one" }, admin)).toEqual([made.org.id, made.project.id]);
  expect(await idsOf({ projectId: "umbrella-one", keyId: key }, admin)).toEqual([
    made.key.id,
    made.org.id,
    made.project.id,
  ]);
  expect(
    (await statusOf({ model: "qwen-2" }, ofProject)).find(({ limit }) => limit?.id === made.project.id),
  ).toMatchObject({
    used: 0n,
    reserved: 0n,
    leased: 0n,
    remaining: 100n,
  });
  // A key of another project, and a project of another organisation, are not found.
  const wrong = await told(harness.limits.getLimitStatus({ projectId: "umbrella-two", keyId: key }, by(stranger)));
  expect(wrong).toEqual({ reason: "NOT_FOUND", facts: { resource: "key", id: key } });
  expect((await told(harness.limits.getLimitStatus({ projectId: "umbrella-one" }, by(orgAdmin)))).reason).toBe(
    "NOT_FOUND",
  );
  expect((await told(harness.limits.getLimitStatus({ projectId: "acme-two" }, by(member)))).reason).toBe("NOT_FOUND");
});

test("a limit that another process of the control plane writes counts within 2 s", async () => {
  const limit = await make(subject("PROJECT", "acme-two"));
  const count = async () => {
    const { limits } = await harness.limits.getLimitStatus({ projectId: "acme-two" }, by(admin));
    return limits.find((status) => status.limit?.id === limit.id)?.limit?.spec?.ceiling.value;
  };
  expect(await count()).toBe(100n);
  await harness.elsewhere.update("acme", limit.id, ({ spec }) => {
    if (!spec) throw new Error("no spec");
    return { ...spec, ceiling: { case: "count", value: 3n } };
  });
  await expect.poll(count, { timeout: 2_000, interval: 50 }).toBe(3n);
  await harness.elsewhere.delete("acme", limit.id, () => {});
  await expect.poll(count, { timeout: 2_000, interval: 50 }).toBeUndefined();
});
