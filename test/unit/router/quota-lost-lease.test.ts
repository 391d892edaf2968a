import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { PrincipalSchema } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import { LeaseBook } from "../../../services/router/quota/lease-book.ts";
import { StoreLink } from "../../../services/router/quota/store-link.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { admitted, LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";
import { storeClient } from "../../fakes/quota-client.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

/** Of a day, so that nothing refills: how much of it is used, once what is idle is given back. */
async function usedOf(node: LeaseHolders): Promise<bigint[]> {
  await node.pass(7_000);
  return (await node.status()).map(({ used }) => used);
}
const aDay = () => new LeaseHolders([limitOf("l", { count: "40", rate: { per: "86400s" } })]);
const tokens = { inputTokens: 1, outputTokens: 1 };

async function twoOf(node: LeaseHolders, holder: ReturnType<LeaseHolders["start"]>) {
  const taking = [take(holder), take(holder)];
  await node.pass(50);
  const [first, second] = await Promise.all(taking);
  return { first, second };
}

describe("what a lease has spent counts once, whichever store hears of it", () => {
  test("a report fails, more is spent, and the store starts anew", async () => {
    const node = aDay();
    const { first, second } = await twoOf(node, node.start("n"));
    first?.settle(tokens);
    node.lost.add("returnLease");
    await node.pass(6_000);
    second?.settle(tokens);
    node.lost.clear();
    await node.restartStore();
    await node.beat();
    expect(await usedOf(node)).toEqual([2n]);
  });

  test("the store starts anew, and a call reaches it before the watch", async () => {
    const node = aDay();
    const holder = node.start("n");
    expect(await admitted(node, holder, 3)).toBe(3);
    node.replaceStore();
    expect(await usedOf(node)).toEqual([3n]);
    await node.reopen();
    await node.beat();
    expect(await usedOf(node)).toEqual([3n]);
  });

  test("the store starts anew, and more is asked for before the watch hears of it", async () => {
    const node = aDay();
    const holder = node.start("n");
    const { first, second } = await twoOf(node, holder);
    first?.settle(tokens);
    node.replaceStore();
    // Of a lease of ten: more is asked for meanwhile.
    const before = node.calls.lease;
    let passed = 2;
    while (node.calls.lease === before) passed += await admitted(node, holder, 1);
    second?.settle(tokens);
    await node.reopen();
    await node.beat();
    expect(await usedOf(node)).toEqual([BigInt(passed)]);
  });

  test("a report is heard and not answered", async () => {
    const node = aDay();
    const holder = node.start("n");
    expect(await admitted(node, holder, 3)).toBe(3);
    node.mute = true;
    await node.pass(7_000);
    node.mute = false;
    await node.reopen();
    await node.beat();
    expect(await usedOf(node)).toEqual([3n]);
    expect(await admitted(node, holder, 1)).toBe(1);
    expect(await usedOf(node)).toEqual([4n]);
  });

  test("a report is heard and not answered, and the store starts anew", async () => {
    const node = aDay();
    const holder = node.start("n");
    expect(await admitted(node, holder, 3)).toBe(3);
    node.mute = true;
    await node.pass(7_000);
    node.mute = false;
    await node.restartStore();
    await node.beat();
    expect(await usedOf(node)).toEqual([3n]);
  });

  test("a report is answered, and the store starts anew: what that had counted is gone with it", async () => {
    const node = aDay();
    const { first, second } = await twoOf(node, node.start("n"));
    first?.settle(tokens);
    await node.pass(6_000);
    await node.restartStore();
    await node.beat();
    second?.settle(tokens);
    expect(await usedOf(node)).toEqual([1n]);
  });

  test("nobody draws on the limit again", async () => {
    const node = aDay();
    const { first, second } = await twoOf(node, node.start("n"));
    await node.restartStore();
    await node.beat();
    first?.settle(tokens);
    second?.settle(tokens);
    expect(await usedOf(node)).toEqual([2n]);
  });

  test("the process is killed before it has told the end", async () => {
    const node = aDay();
    const { first, second } = await twoOf(node, node.start("n.1"));
    await node.restartStore();
    await node.beat();
    node.lost.add("returnLease");
    first?.settle(tokens);
    second?.release();
    node.start("n.2");
    node.lost.clear();
    await node.beat();
    expect(await usedOf(node)).toEqual([1n]);
  });
});

test("what runs on a lease that the store has forgotten keeps its places", async () => {
  const atOnce = limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "40", rate: null });
  const node = new LeaseHolders([atOnce]);
  const { first, second } = await twoOf(node, node.start("n"));
  node.replaceStore();
  await node.pass(5_000);
  expect((await node.status()).map(({ leased }) => leased)).toEqual([2n]);
  first?.settle(tokens);
  second?.settle(tokens);
  await node.pass(2_000);
  expect((await node.status()).map(({ leased }) => leased)).toEqual([0n]);
});

test("a lease that another store made behind its snapshot is given back, also where nothing was drawn from it", async () => {
  const clock = new SimulatedClock();
  const limits = [limitOf("l", { count: "40", rate: { per: "86400s" } })];
  const store = createMemoryQuotaStore({ clock, ids: systemIds });
  const client = storeClient(store, limits);
  const link = new StoreLink({ client, clock, holderId: "n", away: () => undefined, back: () => undefined });
  const book = new LeaseBook({ link, clock, ids: systemIds });
  const principal = create(PrincipalSchema, { orgId: "o", projectId: "p", keyId: "k" });
  const asking = book.ask(book.consumption(principal, "m", Operation.GENERATE, 0));
  clock.advance(10);
  const watchedMs = clock.monotonicMs();
  await asking;
  expect((await store.status(limits)).map(({ leased }) => leased)).toEqual([1n]);
  await book.snapshot(new Set(), watchedMs, true);
  expect((await store.status(limits)).map(({ leased }) => leased)).toEqual([0n]);
});
