import { expect, test } from "vitest";
import { admitted, ask, LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";

test("a lease that was given back is not drawn from again when an answer from before comes late", async () => {
  const node = new LeaseHolders([limitOf("l", { count: "100", rate: { per: "86400s" } })]);
  const holder = node.start("n");
  let passed = await admitted(node, holder, 1);
  const late = Promise.withResolvers<void>();
  node.answers.lease = late.promise;
  // The lease is nearly spent: more of it is asked for.
  const before = node.calls.lease;
  while (node.calls.lease === before) passed += await admitted(node, holder, 1);
  await node.pass(20);
  await node.recall("n");
  await node.pass(900);
  late.resolve();
  delete node.answers.lease;
  await node.pass(20);
  const all = Array.from({ length: 200 }, () => take(holder));
  await node.pass(500);
  for (const grant of await Promise.all(all)) if (grant) passed += 1;
  expect(passed).toBe(100);
});

test("what was granted unseen to a request that ends as soon as it may run comes back at once", async () => {
  const node = new LeaseHolders([limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "1", rate: null })]);
  const holder = node.start("n");
  expect(await admitted(node, holder, 1)).toBe(1);
  node.mute = true;
  let given = 0;
  const asked = ask(holder, "m", {}, (grant) => {
    given += 1;
    grant.release();
  });
  await node.pass(20);
  await asked;
  expect(given).toBe(1);
  node.mute = false;
  await node.beat();
  expect(await admitted(node, holder, 1)).toBe(1);
});

test("what ends while a place is asked for anew counts, also where the store hears of its end last", async () => {
  const open = { onFailure: "ON_FAILURE_OPEN" };
  const atOnce = limitOf("at-once", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "2", rate: null, ...open });
  const total = limitOf("total", {
    dimension: "DIMENSION_TOTAL_TOKENS",
    count: "1000",
    rate: { per: "86400s" },
    ...open,
  });
  const node = new LeaseHolders([atOnce, total]);
  const holder = node.start("n");
  expect(await admitted(node, holder, 1)).toBe(1);
  node.cut = true;
  const taking = take(holder, "other", { expected: { inputTokens: 700, outputTokens: 200 } });
  await node.pass(50);
  const grant = await taking;
  const late = Promise.withResolvers<void>();
  node.answers.reserve = late.promise;
  node.lost.add("settle");
  const asked = node.calls.reserve;
  node.cut = false;
  await node.beat();
  expect(node.calls.reserve).toBeGreaterThan(asked);
  grant?.settle({ inputTokens: 700, outputTokens: 50 });
  late.resolve();
  await node.pass(50);
  node.lost.clear();
  await node.pass(6_000);
  // And the two of the first one.
  expect((await node.status()).map(({ used }) => used)).toEqual([0n, 752n]);
});

test("what is released while a place is asked for anew gives all of it back at once", async () => {
  const open = { onFailure: "ON_FAILURE_OPEN" };
  const atOnce = limitOf("at-once", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "1", rate: null, ...open });
  const total = limitOf("total", {
    dimension: "DIMENSION_TOTAL_TOKENS",
    count: "1000",
    rate: { per: "86400s" },
    ...open,
  });
  const node = new LeaseHolders([atOnce, total]);
  const holder = node.start("n");
  expect(await admitted(node, holder, 1)).toBe(1);
  node.cut = true;
  const taking = take(holder, "other", { expected: { inputTokens: 700, outputTokens: 200 } });
  await node.pass(50);
  const grant = await taking;
  const late = Promise.withResolvers<void>();
  node.answers.reserve = late.promise;
  const asked = node.calls.reserve;
  node.cut = false;
  await node.beat();
  expect(node.calls.reserve).toBeGreaterThan(asked);
  grant?.release();
  late.resolve();
  await node.pass(50);
  expect((await node.status()).map(({ reserved }) => reserved)).toEqual([0n, 0n]);
  expect(await admitted(node, holder, 1)).toBe(1);
});
