import { describe, expect, test } from "vitest";
import type { LeaseRequest } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { leaseRequest, limitOf, reportOf, reserveRequest } from "../fakes/quota-messages.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { Around } from "./quota-store.ts";

const limit = limitOf("l", {
  dimension: "DIMENSION_REQUESTS",
  count: "100",
  budget: { period: "CALENDAR_PERIOD_DAY" },
});

/** What a store of counts has to do with leases at their end, and at that of a budget's period. */
export function leaseEndRules(name: string, open: (around: Around) => Promise<QuotaStore>): void {
  async function world() {
    const clock = new SimulatedClock(Date.UTC(2026, 2, 31, 23, 59, 55));
    let byte = 0;
    const ids = createIdSource({ clock, randomBytes: (length) => Buffer.alloc(length, (byte = (byte + 1) & 0xff)) });
    const store = await open({ clock, ids });
    const lend = async (reports: LeaseRequest["reports"] = []) => {
      const [lease] = (await store.lease([limit], leaseRequest(ids.uuidv7(), { reports }))).leases;
      return { id: lease?.id ?? "", amount: lease?.amount ?? 0n };
    };
    const tell = (...reports: LeaseRequest["reports"]) =>
      store.returnLease([limit], { $typeName: "weir.quota.v1.ReturnLeaseRequest", nodeId: "node-1", reports });
    const othersGet = async () => {
      const asked = Array.from({ length: 200 }, () =>
        store.reserve([limit], reserveRequest(ids.uuidv7(), { nodeId: "node-2" })),
      );
      // The lease is asked back, and nobody answers that.
      clock.advance(250);
      const answers = await Promise.all(asked);
      return answers.filter(({ outcome }) => outcome.case === "granted").length;
    };
    const recalled: string[] = [];
    store.onRecall((nodeId, { leaseId }) => void recalled.push(`${nodeId} ${leaseId}`));
    return { clock, store, lend, tell, othersGet, recalled };
  }

  describe(`${name}: leases at their end`, () => {
    test("what was lent before and is left is not drawn in the next one, also where a report comes before the call for more", async () => {
      const { clock, store, lend, tell, othersGet } = await world();
      const before = await lend();
      clock.advance(6_000);
      const after = await lend([reportOf(before.id, 1n, { spent: 3n, reserved: 2n, amount: before.amount })]);
      expect(after.id).not.toBe(before.id);
      // What runs was drawn before, and counts there.
      await tell(reportOf(before.id, 2n, { spent: 5n, reserved: 0n, amount: 5n, returned: true }));
      expect((await othersGet()) + Number(after.amount)).toBe(100);
      expect((await store.status([limit]))[0]).toMatchObject({ leased: after.amount, remaining: 0n });
    });

    test("one that is only told of after it is over, and keeps what runs on it", async () => {
      const { clock, store, lend, tell } = await world();
      const { id, amount } = await lend();
      clock.advance(6_000);
      await tell(reportOf(id, 1n, { spent: 3n, reserved: 2n, amount }));
      const [lease] = await store.leasesOf("node-1");
      expect(lease).toMatchObject({ id, amount: 5n, spendableFor: { seconds: 0n, nanos: 0 } });
      await tell(reportOf(id, 2n, { spent: 7n, reserved: 0n, amount }));
      expect(await store.leasesOf("node-1")).toEqual([]);
      expect((await store.status([limit]))[0]).toMatchObject({ used: 0n, leased: 0n, remaining: 100n });
    });

    test("one of which nothing was ever told is asked back, for its node may not know of it", async () => {
      const { clock, store, lend, tell, recalled } = await world();
      clock.advance(6_000);
      const { id } = await lend();
      clock.advance(14_999);
      await store.status([limit]);
      expect(recalled).toEqual([]);
      clock.advance(1);
      await store.status([limit]);
      expect(recalled).toEqual([`node-1 ${id}`]);
      // The watch was closed: it is opened again.
      await store.leasesOf("node-1");
      expect(recalled).toEqual([`node-1 ${id}`, `node-1 ${id}`]);
      await tell(reportOf(id, 1n, { spent: 0n, reserved: 0n, amount: 0n, returned: true }));
      expect((await store.status([limit]))[0]).toMatchObject({ leased: 0n, remaining: 100n });
    });

    test("one that was told of is not: its node knows it, or is dead", async () => {
      const { clock, store, lend, tell, recalled } = await world();
      clock.advance(6_000);
      const { id, amount } = await lend();
      await tell(reportOf(id, 1n, { spent: 0n, reserved: 0n, amount }));
      clock.advance(15_000);
      expect((await store.status([limit]))[0]?.leased).toBe(amount);
      await store.leasesOf("node-1");
      expect(recalled).toEqual([]);
    });

    test("what a dead node held comes back 5 min after its life, also where nobody calls meanwhile", async () => {
      const { clock, store, lend } = await world();
      clock.advance(6_000);
      await lend();
      clock.advance(15_000 + 300_000);
      expect((await store.status([limit]))[0]).toMatchObject({ leased: 0n, remaining: 100n });
    });
  });
}
