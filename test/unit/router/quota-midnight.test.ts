import { expect, test } from "vitest";
import type { Grant } from "../../../services/router/quota/grant.ts";
import { LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";

/** Too little to be shared by requests of that size: each asks. */
const size = { inputTokens: 3, outputTokens: 2 };
const spec = {
  dimension: "DIMENSION_TOTAL_TOKENS",
  count: "19",
  rate: null,
  budget: { period: "CALENDAR_PERIOD_DAY" },
};

async function running(node: LeaseHolders, holder: ReturnType<LeaseHolders["start"]>): Promise<Grant> {
  const taking = take(holder, "m", { expected: size, least: size });
  await node.pass(50);
  const grant = await taking;
  if (grant === undefined) throw new Error("it was refused");
  return grant;
}

/** A node some seconds before midnight, and a request that is reserved. */
async function start(over = {}) {
  const node = new LeaseHolders([limitOf("l", { ...spec, ...over })]);
  node.clock.jumpWallTo(Date.UTC(2026, 2, 10, 23, 59, 50));
  const holder = node.start("n");
  const grant = await running(node, holder);
  expect(holder.reserved).toBe(1);
  return { node, holder, grant, midnight: () => node.clock.jumpWallTo(Date.UTC(2026, 2, 11)) };
}

const usedOf = async (node: LeaseHolders) => (await node.status()).map(({ used, reserved }) => [used, reserved]);

test("what a request had used before midnight is not the next day's, told to a store that started anew since", async () => {
  const { node, grant, midnight } = await start();
  node.lost.add("settle");
  grant.settle(size);
  await node.pass(50);
  midnight();
  await node.restartStore();
  node.lost.clear();
  await node.pass(6_000);
  expect(await usedOf(node)).toEqual([[0n, 0n]]);
});

test("of one that runs over midnight counts what it used beyond what was set aside before", async () => {
  const { node, grant, midnight } = await start();
  midnight();
  await node.restartStore();
  grant.settle({ inputTokens: 3, outputTokens: 4 });
  await node.pass(50);
  expect(await usedOf(node)).toEqual([[2n, 0n]]);
});

test("what ran unchecked before midnight is not the next day's either", async () => {
  const { node, holder, grant, midnight } = await start({ onFailure: "ON_FAILURE_OPEN" });
  node.cut = true;
  const unchecked = await running(node, holder);
  unchecked.settle(size);
  grant.settle(size);
  await node.pass(50);
  midnight();
  node.cut = false;
  await node.beat();
  await node.pass(6_000);
  expect(await usedOf(node)).toEqual([[0n, 0n]]);
  const next = await running(node, holder);
  next.settle(size);
  await node.pass(50);
  expect(await usedOf(node)).toEqual([[5n, 0n]]);
});
