import { describe, expect, test } from "vitest";
import type { Limit } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { admitted, LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";

const atOnce = (count: string): Limit =>
  limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count, rate: null, onFailure: "ON_FAILURE_CLOSED" });

/** Longer than a reservation or a lease lives without a word. */
const outageMs = 25_000;
/** Until what runs was told of again. */
const soonMs = 8_000;

const tokens = { inputTokens: 1, outputTokens: 1 };

const outages = {
  "the store can't be reached": async (node: LeaseHolders) => {
    node.cut = true;
    await node.pass(outageMs);
    node.cut = false;
  },
  "the store starts anew": (node: LeaseHolders) => node.restartStore(),
};

// Of 2 each request asks, 40 are shared by leases.
const cases = Object.entries(outages).flatMap(([what, happens]) => [2, 40].map((count) => ({ what, happens, count })));

test.each(cases)("what runs at a limit of $count still has its places after $what", async ({ happens, count }) => {
  const node = new LeaseHolders([atOnce(String(count))]);
  const holder = node.start("n");
  const running = Array.from({ length: count }, () => take(holder));
  await node.pass(400);
  const grants = await Promise.all(running);
  expect(grants.filter(Boolean)).toHaveLength(count);
  await node.beat();
  await happens(node);
  await node.beat();
  await node.pass(soonMs);
  expect(await admitted(node, holder, 3)).toBe(0);
  for (const grant of grants) grant?.settle(tokens);
  await node.pass(1_500);
  expect(await admitted(node, holder, 3)).toBe(3);
});

test("what began while nobody could be asked has its places when the store is back", async () => {
  const node = new LeaseHolders([limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "2", rate: null })]);
  const holder = node.start("n");
  expect(await admitted(node, holder, 1)).toBe(1);
  node.cut = true;
  const running = [take(holder), take(holder), take(holder)];
  await node.pass(1_500);
  const grants = await Promise.all(running);
  expect(grants.map((grant) => grant !== undefined)).toEqual([true, true, false]);
  node.cut = false;
  await node.beat();
  await node.pass(soonMs);
  expect(await admitted(node, holder, 3)).toBe(0);
  for (const grant of grants) grant?.settle(tokens);
  await node.pass(1_500);
  expect(await admitted(node, holder, 3)).toBe(3);
});

describe("a node's own share outlasts who was not seen for long", () => {
  /** Nobody is remembered for longer than 5 min. */
  const pauseMs = 320_000;

  async function cutOff(limit: Limit) {
    const node = new LeaseHolders([limit]);
    const holder = node.start("n");
    expect(await admitted(node, holder, 1)).toBe(1);
    // What is leased is given back.
    await node.pass(7_000);
    node.cut = true;
    return { node, holder };
  }

  test("of requests at once: those that run have their places all the time", async () => {
    const { node, holder } = await cutOff(
      limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "2", rate: null }),
    );
    const running = [take(holder), take(holder)];
    await node.pass(1_500);
    const grants = await Promise.all(running);
    expect(grants.filter(Boolean)).toHaveLength(2);
    await node.pass(pauseMs);
    expect(await admitted(node, holder, 3)).toBe(0);
    for (const grant of grants) grant?.settle(tokens);
    expect(await admitted(node, holder, 3)).toBe(3);
  });

  test("of a budget: what was used of it is used", async () => {
    const budget = { budget: { period: "CALENDAR_PERIOD_DAY" }, onFailure: "ON_FAILURE_LOCAL" };
    const { node, holder } = await cutOff(limitOf("l", { ...budget, count: "20", rate: null }));
    expect(await admitted(node, holder, 25)).toBe(20);
    await node.pass(pauseMs);
    expect(await admitted(node, holder, 3)).toBe(0);
  });

  test("of a rate: it refills as the limit does", async () => {
    const { node, holder } = await cutOff(limitOf("l", { count: "6", rate: { per: "3600s" } }));
    expect(await admitted(node, holder, 10)).toBe(6);
    await node.pass(pauseMs);
    expect(await admitted(node, holder, 3)).toBe(0);
    await node.pass(400_000);
    expect(await admitted(node, holder, 3)).toBe(1);
  });
});
