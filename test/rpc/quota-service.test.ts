import { randomUUID } from "node:crypto";
import { fromJson, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Limit, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { CreateLimitRequestSchema } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import type { ReserveRequest, ReserveRequestSchema } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { DenialReason } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { specJson } from "../fakes/limits.ts";
import { principal, told } from "./auth-harness.ts";
import { type QuotaHarness, startQuota } from "./quota-harness.ts";

let harness: QuotaHarness;

beforeAll(async () => {
  harness = await startQuota();
});
afterAll(() => harness[Symbol.asyncDispose]());

const asAdmin = withCallOptions({ principal: principal() });
let made = 0;

/** A project of its own for each test, and a limit on it. */
async function project(): Promise<string> {
  made += 1;
  const projectId = `project-${made}`;
  await harness.auth.tenants.createProject({ requestId: projectId, orgId: "acme", projectId, name: "p" }, asAdmin);
  return projectId;
}

async function limitOn(projectId: string, spec: JsonObject): Promise<Limit> {
  const request = fromJson(CreateLimitRequestSchema, {
    requestId: randomUUID(),
    spec: specJson({ subject: { kind: "SUBJECT_KIND_PROJECT", id: projectId }, ...spec }),
  });
  const { limit } = await harness.limits.createLimit(request, asAdmin);
  if (!limit) throw new Error("no limit");
  return limit;
}

type Reserve = Exclude<MessageInitShape<typeof ReserveRequestSchema>, ReserveRequest>;

const asked = (projectId: string) => ({
  consumer: { orgId: "acme", projectId, keyId: "key1", userId: "" },
  model: "qwen-2",
  operation: Operation.GENERATE,
});

const reserve = async (projectId: string, over: Reserve = {}) =>
  (
    await harness.quota.reserve({
      requestId: randomUUID(),
      nodeId: "n1",
      ...asked(projectId),
      estimate: { inputTokens: 10n, outputTokens: 90n },
      least: { inputTokens: 10n },
      ...over,
    })
  ).outcome;

async function statusOf(projectId: string, limitId: string) {
  const { limits } = await harness.limits.getLimitStatus({ projectId }, asAdmin);
  return limits.find(({ limit }) => limit?.id === limitId);
}

test("without a limit everything is granted, and nothing is set aside", async () => {
  const outcome = await reserve(await project());
  expect(outcome).toMatchObject({ case: "granted", value: { shares: [] } });
});

test("200 at once against a limit of 100 are 100, and the refused ones count nothing", async () => {
  const projectId = await project();
  const limit = await limitOn(projectId, { count: "100" });
  const outcomes = await Promise.all(Array.from({ length: 200 }, () => reserve(projectId)));
  expect(outcomes.filter((outcome) => outcome.case === "granted")).toHaveLength(100);
  const denied = outcomes.flatMap((outcome) => (outcome.case === "denied" ? [outcome.value] : []));
  expect(denied).toHaveLength(100);
  for (const denial of denied) {
    expect(denial).toMatchObject({ limitId: limit.id, reason: DenialReason.RATE, ceiling: 100n, needed: 1n });
    expect(denial.retryAfter).toBeDefined();
  }
  const status = await statusOf(projectId, limit.id);
  expect([status?.used, status?.reserved]).toEqual([0n, 100n]);
  expect(status?.remaining).toBeLessThanOrEqual(2n);
});

test("a request is reserved once, settled by the truth, and given back if it never ran", async () => {
  const projectId = await project();
  const limit = await limitOn(projectId, {
    dimension: "DIMENSION_TOTAL_TOKENS",
    count: "1000",
    rate: { per: "86400s" },
  });
  const requestId = randomUUID();
  const first = await reserve(projectId, { requestId });
  expect(first).toMatchObject({ case: "granted", value: { shares: [{ limitId: limit.id, amount: 100n }] } });
  expect(await reserve(projectId, { requestId })).toMatchObject({ case: "granted", value: { requestId } });
  expect(await statusOf(projectId, limit.id)).toMatchObject({ used: 0n, reserved: 100n, remaining: 900n });
  const settle = { requestId, ...asked(projectId), used: { inputTokens: 10n, outputTokens: 250n }, sequence: 1n };
  for (let times = 0; times < 3; times++) await harness.quota.settle(settle);
  expect(await statusOf(projectId, limit.id)).toMatchObject({ used: 260n, reserved: 0n, remaining: 740n });
  await harness.quota.settle({ ...settle, used: { inputTokens: 10n, outputTokens: 50n }, sequence: 2n });
  await harness.quota.settle({ ...settle, used: { inputTokens: 1n }, sequence: 1n });
  expect(await statusOf(projectId, limit.id)).toMatchObject({ used: 60n, reserved: 0n, remaining: 940n });
  const never = randomUUID();
  await reserve(projectId, { requestId: never });
  for (const id of [never, never, randomUUID()]) await harness.quota.release({ requestId: id });
  expect(await statusOf(projectId, limit.id)).toMatchObject({ used: 60n, reserved: 0n, remaining: 940n });
});

test("a request that could never fit is refused for good", async () => {
  const projectId = await project();
  await limitOn(projectId, { dimension: "DIMENSION_INPUT_TOKENS", count: "5" });
  const outcome = await reserve(projectId);
  expect(outcome).toMatchObject({
    case: "denied",
    value: { reason: DenialReason.NEVER_FITS, needed: 10n, ceiling: 5n },
  });
  expect(outcome.case === "denied" && outcome.value.retryAfter).toBeUndefined();
});

test.each<[string, JsonObject]>([
  ["requests", {}],
  ["output tokens, of which no request needs any at least", { dimension: "DIMENSION_OUTPUT_TOKENS" }],
  ["total tokens", { dimension: "DIMENSION_TOTAL_TOKENS", rate: null, budget: { period: "CALENDAR_PERIOD_DAY" } }],
  ["requests at once", { dimension: "DIMENSION_CONCURRENT_REQUESTS", rate: null }],
])("a limit of 0 allows no %s, and refuses for good", async (_what, spec) => {
  const projectId = await project();
  await limitOn(projectId, { ...spec, count: "0" });
  expect(await reserve(projectId)).toMatchObject({ case: "denied", value: { reason: DenialReason.NEVER_FITS } });
});

test("only limits that name its model and operation count a request", async () => {
  const projectId = await project();
  await limitOn(projectId, { count: "0", models: ["llama*"] });
  await limitOn(projectId, { count: "0", operations: ["OPERATION_EMBED"] });
  expect((await reserve(projectId)).case).toBe("granted");
  expect((await reserve(projectId, { model: "llama-3" })).case).toBe("denied");
  expect((await reserve(projectId, { operation: Operation.EMBED })).case).toBe("denied");
});

test("a limit that was changed counts by its new ceiling, and what the window had counted stays", async () => {
  const projectId = await project();
  const limit = await limitOn(projectId, { count: "3", rate: { per: "86400s" } });
  for (let times = 0; times < 2; times++) expect((await reserve(projectId)).case).toBe("granted");
  await harness.limits.updateLimit({ limitId: limit.id, count: 2n, updateMask: { paths: ["count"] } }, asAdmin);
  expect((await reserve(projectId)).case).toBe("denied");
  await harness.limits.updateLimit({ limitId: limit.id, count: 4n, updateMask: { paths: ["count"] } }, asAdmin);
  expect((await reserve(projectId)).case).toBe("granted");
  await harness.limits.updateLimit(
    { limitId: limit.id, mode: 2, count: 1n, updateMask: { paths: ["mode", "count"] } },
    asAdmin,
  );
  expect((await reserve(projectId)).case).toBe("granted");
});

test("a deleted limit refuses nobody, and its requests end as others do", async () => {
  const projectId = await project();
  const limit = await limitOn(projectId, { dimension: "DIMENSION_CONCURRENT_REQUESTS", rate: null, count: "1" });
  const requestId = randomUUID();
  expect((await reserve(projectId, { requestId })).case).toBe("granted");
  expect((await reserve(projectId)).case).toBe("denied");
  await harness.limits.deleteLimit({ limitId: limit.id }, asAdmin);
  expect((await reserve(projectId)).case).toBe("granted");
  await harness.quota.settle({ requestId, ...asked(projectId), used: {}, sequence: 1n });
  expect(await statusOf(projectId, limit.id)).toBeUndefined();
});

test("a node leases parts of a large limit, which status tells, and asks each time for a small one", async () => {
  const projectId = await project();
  const large = await limitOn(projectId, { count: "10000", rate: { per: "86400s" } });
  const small = await limitOn(projectId, { count: "2", rate: { per: "86400s" } });
  const lease = (nodeId: string) =>
    harness.quota.lease({ requestId: randomUUID(), nodeId, ...asked(projectId), wanted: {}, requestsWanted: 100n });
  const elsewhere = await limitOn(projectId, { models: ["other"], operations: ["OPERATION_EMBED"] });
  const { leases, central, elsewhere: others } = await lease("n1");
  expect(others.map(({ id }) => id)).toEqual([elsewhere.id]);
  expect(leases).toMatchObject([{ nodeId: "n1", limit: { id: large.id }, limitRevision: large.revision }]);
  expect(central.map(({ id }) => id)).toEqual([small.id]);
  const amount = leases[0]?.amount ?? 0n;
  expect(amount).toBeGreaterThan(0n);
  expect(await statusOf(projectId, large.id)).toMatchObject({ leased: amount, remaining: 10_000n - amount });
  const report = { leaseId: leases[0]?.id ?? "", spent: 1n, reserved: 0n, amount: 1n, sequence: 1n };
  for (let times = 0; times < 2; times++) await harness.quota.returnLease({ nodeId: "n1", reports: [report] });
  expect(await statusOf(projectId, large.id)).toMatchObject({ used: 1n, leased: 0n, remaining: 9_999n });
});

test.each<[string, Reserve]>([
  ["negative tokens", { estimate: { inputTokens: -1n } }],
  ["absurd tokens", { estimate: { outputTokens: 2n ** 62n } }],
  ["negative money", { least: { costNanos: -1n, currency: "USD" } }],
  ["no request id", { requestId: "1" }],
  ["a node of no name", { nodeId: "a b" }],
  ["nobody's request", { consumer: { orgId: "", projectId: "", keyId: "" } }],
  ["no operation", { operation: Operation.UNSPECIFIED }],
  ["a long wait", { waitMax: { seconds: 60n } }],
])("a reservation with %s is refused by the contract", async (_what, over) => {
  expect((await told(reserve("acme-one", over))).reason).toBe("INVALID_ARGUMENT");
});

test("what is not there cannot be extended", async () => {
  const extend = harness.quota.extend({ requestId: randomUUID(), slice: 1, more: {}, used: {} });
  expect((await told(extend)).reason).toBe("NOT_FOUND");
});

test("refusals, would-be refusals and what is leased are exported, by dimension alone", async () => {
  const projectId = await project();
  const rate = { per: "86400s" };
  await limitOn(projectId, { count: "100", rate, dimension: "DIMENSION_OUTPUT_TOKENS", mode: "LIMIT_MODE_SHADOW" });
  for (let times = 0; times < 2; times++) expect((await reserve(projectId)).case).toBe("granted");
  await limitOn(projectId, { count: "0", dimension: "DIMENSION_INPUT_TOKENS" });
  expect((await reserve(projectId)).case).toBe("denied");
  const text = await harness.auth.metrics.text();
  expect(text).toContain('weir_quota_shadow_denials_total{dimension="output_tokens"} 1\n');
  expect(text).toMatch(/weir_quota_denials_total\{dimension="input_tokens",reason="never_fits"\} [12]\n/);
  expect(text).toContain('weir_quota_leased{dimension="requests"} 0\n');
  expect(text).toMatch(/weir_quota_limits\{dimension="requests"\} \d+\n/);
  expect(text).toMatch(/weir_quota_limits_age_seconds [01]/);
  const limit = await limitOn(projectId, { count: "1000000", rate: { per: "86400s" } });
  const wanted = { requestId: randomUUID(), nodeId: "n2", ...asked(projectId), wanted: {}, requestsWanted: 50n };
  const { leases } = await harness.quota.lease(wanted);
  const leased = leases.find((lease) => lease.limit?.id === limit.id)?.amount;
  expect(leased).toBeGreaterThan(0n);
  expect(await harness.auth.metrics.text()).toContain(`weir_quota_leased{dimension="requests"} ${leased}\n`);
  expect(text).not.toContain(limit.id);
});
