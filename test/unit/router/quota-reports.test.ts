import { describe, expect, test } from "vitest";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import { HeldLease } from "../../../services/router/quota/held-lease.ts";
import { LeaseBook } from "../../../services/router/quota/lease-book.ts";
import { type QuotaClient, StoreLink } from "../../../services/router/quota/store-link.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { admitted, LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";
import { storeClient } from "../../fakes/quota-client.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const atOnce = (count: string) => limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count, rate: null });
const tokens = { inputTokens: 1, outputTokens: 1 };

async function running(node: LeaseHolders, holder: ReturnType<LeaseHolders["start"]>, count: number) {
  const taking = Array.from({ length: count }, () => take(holder));
  await node.pass(400);
  const grants = await Promise.all(taking);
  expect(grants.filter(Boolean)).toHaveLength(count);
  expect(holder.reserved).toBe(0);
  return grants;
}

const leasedOf = async (node: LeaseHolders) => (await node.status()).map(({ leased }) => leased);

describe("when leases are told of", () => {
  test("a report that failed is told with the next look, also of a lease that is in use", async () => {
    const node = new LeaseHolders([atOnce("400")]);
    const holder = node.start("n");
    await running(node, holder, 2);
    node.lost.add("returnLease");
    while (node.calls.returnLease === 0) await admitted(node, holder, 1);
    await node.pass(20);
    node.lost.clear();
    await node.pass(1_100);
    expect(node.returned).toHaveLength(1);
  });

  test("what runs on lost leases is told at once, though the answer to a report before is still on its way", async () => {
    const node = new LeaseHolders([atOnce("400")]);
    const grants = await running(node, node.start("n"), 2);
    node.answers.returnLease = new Promise(() => undefined);
    while (node.calls.returnLease === 0) await node.pass(100);
    // It arrives.
    await node.pass(20);
    await node.restartStore();
    await node.beat();
    expect(await leasedOf(node)).toEqual([2n]);
    for (const grant of grants) grant?.settle(tokens);
  });

  test("ends on a lost lease that follow each other are told together", async () => {
    const node = new LeaseHolders([atOnce("400")]);
    const grants = await running(node, node.start("n"), 60);
    await node.restartStore();
    await node.beat();
    expect(await leasedOf(node)).toEqual([60n]);
    const before = node.calls.returnLease;
    for (const grant of grants) {
      grant?.settle(tokens);
      await node.pass(1);
    }
    await node.pass(30);
    expect(await leasedOf(node)).toEqual([0n]);
    expect(node.calls.returnLease - before).toBeLessThanOrEqual(5);
  });

  test("no call is made where a report of each lease is on its way already", async () => {
    const clock = new SimulatedClock();
    const store = storeClient(createMemoryQuotaStore({ clock, ids: systemIds }), []);
    const sizes: (number | undefined)[] = [];
    const client: QuotaClient = {
      ...store,
      returnLease: (request) => {
        sizes.push(request.reports?.length);
        return store.returnLease(request);
      },
    };
    const link = new StoreLink({ client, clock, holderId: "n", away: () => undefined, back: () => undefined });
    const book = new LeaseBook({ link, clock, ids: systemIds });
    const lease = new HeldLease("lease", "l", 0, 0);
    const answer = Promise.withResolvers<void>();
    const telling = book.telling([lease], false, () => answer.promise);
    await book.tell([lease]);
    expect(sizes).toEqual([]);
    answer.resolve();
    await telling;
    await book.tell([lease]);
    expect(sizes).toEqual([1]);
  });
});
