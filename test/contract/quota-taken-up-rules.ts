import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { createIdSource } from "../../services/runtime/ids.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { PeriodShareSchema } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { amounts, leaseRequest, limitOf, reportOf, reserveRequest, settleRequest } from "../fakes/quota-messages.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { Around } from "./quota-store.ts";

/** Of a day, so that nothing refills. */
const limit = limitOf("l", { dimension: "DIMENSION_REQUESTS", count: "100", rate: { per: "86400s" } });
const budget = limitOf("budget", {
  dimension: "DIMENSION_REQUESTS",
  count: "100",
  budget: { period: "CALENDAR_PERIOD_DAY" },
});
const tokens = limitOf("tokens", {
  dimension: "DIMENSION_TOTAL_TOKENS",
  count: "1000",
  budget: { period: "CALENDAR_PERIOD_DAY" },
});
const slots = limitOf("slots", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "100" });

/** What a store of counts has to do with reports of leases that it does not know, or not any more. */
export function takenUpRules(name: string, open: (around: Around) => Promise<QuotaStore>): void {
  async function world() {
    const clock = new SimulatedClock(Date.UTC(2026, 2, 31, 12));
    let byte = 0;
    const ids = createIdSource({ clock, randomBytes: (length) => Buffer.alloc(length, (byte = (byte + 1) & 0xff)) });
    const store = await open({ clock, ids });
    const tell = (leaseId: string, sequence: bigint, held: Omit<Parameters<typeof reportOf>[2], "amount">) =>
      store.returnLease([limit, slots, budget], {
        $typeName: "weir.quota.v1.ReturnLeaseRequest",
        nodeId: "node-1",
        reports: [reportOf(leaseId, sequence, { amount: held.spent + held.reserved, limitId: "l", ...held })],
      });
    const counted = async (of = limit) => {
      const [status] = await store.status([of]);
      return [status?.used, status?.leased];
    };
    return { clock, ids, store, tell, counted };
  }

  describe(`${name}: leases that it does not know`, () => {
    test("what was spent beyond what a store had heard counts once, however often it is told", async () => {
      const { tell, counted } = await world();
      for (let copy = 0; copy < 2; copy++) {
        await tell("lost", 7n, { spent: 30n, reserved: 5n, heard: 20n });
        await tell("lost", 6n, { spent: 25n, reserved: 9n, heard: 20n });
        expect(await counted()).toEqual([10n, 5n]);
      }
      // That was answered, so more is known to be heard.
      for (let copy = 0; copy < 2; copy++) {
        await tell("lost", 8n, { spent: 34n, reserved: 0n, heard: 30n, returned: true });
        expect(await counted()).toEqual([14n, 0n]);
      }
      await tell("lost", 9n, { spent: 35n, reserved: 0n, heard: 30n, returned: true });
      expect(await counted()).toEqual([15n, 0n]);
    });

    test("what is told late of a lease that is over counts, and what runs on it is held again", async () => {
      const { clock, ids, store, tell, counted } = await world();
      const [lease] = (await store.lease([limit], leaseRequest(ids.uuidv7()))).leases;
      const id = lease?.id ?? "";
      await tell(id, 1n, { spent: 2n, reserved: 3n });
      clock.advance(15_000);
      await store.status([limit]);
      clock.advance(300_000);
      expect(await counted()).toEqual([2n, 0n]);
      await tell(id, 2n, { spent: 4n, reserved: 1n });
      expect(await counted()).toEqual([4n, 1n]);
      await tell(id, 3n, { spent: 6n, reserved: 0n, returned: true });
      await tell(id, 4n, { spent: 6n, reserved: 0n, returned: true });
      expect(await counted()).toEqual([6n, 0n]);
    });

    test("of more that was heard than spent nothing is heard of what is spent next", async () => {
      const { tell, counted } = await world();
      await tell("lost", 1n, { spent: 5n, reserved: 2n, heard: 9n });
      expect(await counted()).toEqual([0n, 2n]);
      await tell("lost", 2n, { spent: 8n, reserved: 0n, heard: 9n, returned: true });
      expect(await counted()).toEqual([3n, 0n]);
    });

    test("of a budget's period that is over only what goes beyond counts in the next one", async () => {
      const { clock, tell, counted } = await world();
      const held = { limitId: "budget", windowEnd: timestampFromMs(Date.UTC(2026, 3, 1)) };
      await tell("before", 3n, { ...held, spent: 30n, reserved: 5n, heard: 10n });
      expect(await counted(budget)).toEqual([20n, 5n]);
      clock.advance(12 * 3_600_000);
      await tell("after", 3n, { ...held, spent: 30n, reserved: 5n, heard: 10n });
      expect(await counted(budget)).toEqual([0n, 0n]);
      await tell("after", 4n, { ...held, spent: 37n, reserved: 1n, heard: 30n });
      expect(await counted(budget)).toEqual([2n, 1n]);
      await tell("after", 5n, { ...held, spent: 38n, reserved: 0n, heard: 37n, returned: true });
      await tell("after", 6n, { ...held, spent: 39n, reserved: 0n, heard: 38n, returned: true });
      expect(await counted(budget)).toEqual([4n, 0n]);
    });

    test("of a lease that is over a dead process's journal need not name the limit", async () => {
      const { ids, store, tell, counted } = await world();
      const [lease] = (await store.lease([limit], leaseRequest(ids.uuidv7()))).leases;
      const id = lease?.id ?? "";
      await tell(id, 1n, { spent: 2n, reserved: 0n, returned: true });
      await tell(id, 2n, { limitId: "", spent: 4n, reserved: 0n, returned: true });
      expect(await counted()).toEqual([4n, 0n]);
    });

    test("what runs of requests at once holds its places until it ends, or is silent for 15 s", async () => {
      const { clock, store, tell, counted } = await world();
      const held = { limitId: "slots", spent: 0n, returned: true };
      await tell("lost", 4n, { ...held, reserved: 7n });
      await tell("silent", 4n, { ...held, reserved: 2n });
      expect(await counted(slots)).toEqual([0n, 9n]);
      // Nothing of it is lent.
      expect(await store.leasesOf("node-1")).toEqual([]);
      clock.advance(14_000);
      await tell("lost", 5n, { ...held, reserved: 3n });
      clock.advance(1_000);
      expect(await counted(slots)).toEqual([0n, 3n]);
      await tell("lost", 6n, { ...held, reserved: 0n });
      expect(await counted(slots)).toEqual([0n, 0n]);
    });

    test("of a limit that is not there, or not named, nothing is known to count it on", async () => {
      const { tell, counted } = await world();
      for (const limitId of ["", "deleted"]) await tell("lost", 1n, { limitId, spent: 5n, reserved: 1n });
      expect(await counted()).toEqual([0n, 0n]);
    });
  });

  describe(`${name}: requests that it does not know`, () => {
    const end = timestampFromMs(Date.UTC(2026, 3, 1));
    const periods = [create(PeriodShareSchema, { limitId: "tokens", amount: 20n, end })];
    const statusOf = async (store: QuotaStore) => (await store.status([tokens]))[0];

    test("what was set aside in a budget's period that is over covers the first part of what was used", async () => {
      const { clock, ids, store } = await world();
      clock.advance(12 * 3_600_000 - 5_000);
      const settle = (id: string, used: number, sequence = 1n) =>
        store.settle([tokens], { ...settleRequest(id, amounts(used), sequence), periods });
      await settle(ids.uuidv7(), 30);
      expect(await statusOf(store)).toMatchObject({ used: 30n });
      const [within, beyond] = [ids.uuidv7(), ids.uuidv7()];
      clock.advance(5_000);
      for (let copy = 0; copy < 2; copy++) {
        await settle(within, 20);
        await settle(beyond, 30);
        expect(await statusOf(store)).toMatchObject({ used: 10n });
      }
      await settle(beyond, 35, 2n);
      expect(await statusOf(store)).toMatchObject({ used: 15n });
    });

    test("so it does where the request was reserved anew in the next one", async () => {
      const { clock, ids, store } = await world();
      clock.advance(12 * 3_600_000);
      const id = ids.uuidv7();
      await store.reserve([tokens], reserveRequest(id, { estimate: amounts(25) }));
      expect(await statusOf(store)).toMatchObject({ reserved: 25n });
      await store.settle([tokens], { ...settleRequest(id, amounts(30)), periods });
      expect(await statusOf(store)).toMatchObject({ used: 10n, reserved: 0n, remaining: 990n });
    });

    test("and where the same store knows the request nothing is covered twice", async () => {
      const { clock, ids, store } = await world();
      const id = ids.uuidv7();
      await store.reserve([tokens], reserveRequest(id, { estimate: amounts(20) }));
      clock.advance(12 * 3_600_000);
      await store.settle([tokens], { ...settleRequest(id, amounts(30)), periods });
      expect(await statusOf(store)).toMatchObject({ used: 10n, reserved: 0n });
    });
  });
}
