import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { Dimension, LimitSchema, OnFailure } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { admitted, LeaseHolders, take } from "../../fakes/lease-holders.ts";

const perMinute = { case: "rate" as const, value: { per: { seconds: 60n } } };
const wide = [
  create(LimitSchema, {
    id: "requests",
    revision: 1n,
    spec: { dimension: Dimension.REQUESTS, ceiling: { case: "count", value: 10n ** 9n }, window: perMinute },
  }),
  create(LimitSchema, {
    id: "tokens",
    revision: 1n,
    spec: { dimension: Dimension.TOTAL_TOKENS, ceiling: { case: "count", value: 10n ** 12n }, window: perMinute },
  }),
  create(LimitSchema, {
    id: "slots",
    revision: 1n,
    spec: { dimension: Dimension.CONCURRENT_REQUESTS, ceiling: { case: "count", value: 100_000n } },
  }),
];

test("a burst on a node that has just started asks for leases, and then for nothing", async () => {
  const node = new LeaseHolders(wide);
  const holder = node.start("n.1");
  const worker = async (requests: number): Promise<void> => {
    for (let at = 0; at < requests; at++) {
      const grant = await take(holder);
      expect(grant).toBeDefined();
      await node.pass(3);
      grant?.settle({ inputTokens: 1, outputTokens: 1 });
    }
  };
  await Promise.all(Array.from({ length: 32 }, () => worker(50)));
  expect(node.calls).toMatchObject({ reserve: 0, settle: 0 });
  expect(node.calls.lease).toBeLessThanOrEqual(8);
  const { leased, asked } = holder.counts;
  expect(leased + asked).toBe(32 * 50);
  expect(leased).toBeGreaterThan(1_500);
});

test("a burst upon leases that were small until then asks for larger ones, and then for nothing", async () => {
  const node = new LeaseHolders(wide);
  const holder = node.start("n.1");
  expect(await admitted(node, holder, 1)).toBe(1);
  const { lease } = node.calls;
  // The first of them may come while nobody has asked again.
  const grants = await Promise.all(Array.from({ length: 64 }, () => take(holder)));
  expect(grants.every((grant) => grant !== undefined)).toBe(true);
  await node.pass(20);
  const { reserve } = node.calls;
  expect(reserve).toBeLessThanOrEqual(4);
  for (const grant of grants) grant?.settle({ inputTokens: 1, outputTokens: 1 });
  const more = await Promise.all(Array.from({ length: 64 }, () => take(holder)));
  expect(more.every((grant) => grant !== undefined)).toBe(true);
  expect(node.calls.reserve).toBe(reserve);
  expect(node.calls.lease - lease).toBeLessThanOrEqual(4);
});

test("a key that is known goes on with a model that it has not called before, by the limits that count it there", async () => {
  const onFailure = (id: string, models: string[], how: OnFailure) =>
    create(LimitSchema, {
      id,
      revision: 1n,
      spec: {
        models,
        dimension: Dimension.REQUESTS,
        ceiling: { case: "count", value: 8n },
        window: perMinute,
        onFailure: how,
      },
    });
  const node = new LeaseHolders([
    onFailure("first", ["first"], OnFailure.OPEN),
    onFailure("closed", ["shut*"], OnFailure.CLOSED),
    onFailure("local", ["near"], OnFailure.LOCAL),
  ]);
  const holder = node.start("n.1");
  expect(await admitted(node, holder, 1, "first")).toBe(1);
  node.cut = true;
  expect(await admitted(node, holder, 3, "shut-down")).toBe(0);
  expect(await admitted(node, holder, 20, "near")).toBe(8);
  expect(await admitted(node, holder, 20, "any")).toBe(20);
});
