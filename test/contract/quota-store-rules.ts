import { describe, expect, test } from "vitest";
import type { Limit } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { LeaseRequest, ReserveResponse } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { type Denial, DenialReason } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import {
  amounts,
  extendRequest,
  leaseRequest,
  limitOf,
  perMinute,
  type ReserveWish,
  reportOf,
  reserveRequest,
  settleRequest,
} from "../fakes/quota-messages.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { Around } from "./quota-store.ts";

const atOnce = { dimension: "DIMENSION_CONCURRENT_REQUESTS" };
const requests = { dimension: "DIMENSION_REQUESTS", ...perMinute };
const tokens = { dimension: "DIMENSION_TOTAL_TOKENS", ...perMinute };
const released = (requestId: string) => ({ $typeName: "weir.quota.v1.ReleaseRequest" as const, requestId });

/** What a store of counts has to do in cases that matter by themselves. */
export function quotaStoreRules(name: string, open: (around: Around) => Promise<QuotaStore>): void {
  async function world(startMs = Date.UTC(2026, 2, 31, 12)) {
    const clock = new SimulatedClock(startMs);
    let byte = 0;
    const ids = createIdSource({ clock, randomBytes: (length) => Buffer.alloc(length, (byte = (byte + 1) & 0xff)) });
    const store = await open({ clock, ids });
    const reserve = (limits: readonly Limit[], wish: ReserveWish = {}, id = ids.uuidv7()) =>
      store.reserve(limits, reserveRequest(id, wish));
    return { clock, ids, store, reserve };
  }

  const isGranted = ({ outcome }: ReserveResponse) => outcome.case === "granted";
  const denialOf = ({ outcome }: ReserveResponse): Denial => {
    if (outcome.case !== "denied") throw new Error("it was granted");
    return outcome.value;
  };
  const waitOf = ({ retryAfter }: Denial) => Number(retryAfter?.seconds) * 1_000 + Number(retryAfter?.nanos) / 1e6;

  describe(`${name}: admits exactly what a limit allows`, () => {
    test.each([
      ["requests a minute", requests],
      ["requests at once", atOnce],
    ])("200 at the same time, of %s", async (_what, spec) => {
      const { reserve } = await world();
      const limit = limitOf("limit", { ...spec, count: "117" });
      const answers = await Promise.all(Array.from({ length: 200 }, () => reserve([limit])));
      expect(answers.filter(isGranted)).toHaveLength(117);
    });

    test.each([900, 1_023, 100_000])("reservations of tokens never exceed %d together", async (count) => {
      const { reserve } = await world();
      const limit = limitOf("limit", { ...tokens, count: String(count) });
      const wish = { estimate: amounts(7, 256), least: amounts(7) };
      const answers = await Promise.all(Array.from({ length: 500 }, () => reserve([limit], wish)));
      expect(answers.filter(isGranted)).toHaveLength(Math.floor(count / 263));
    });

    test("a request that is expected to use more than the whole limit takes all of it, one that must is refused for good", async () => {
      const { reserve } = await world();
      const limit = limitOf("limit", { ...tokens, count: "100" });
      const never = denialOf(await reserve([limit], { estimate: amounts(20, 300), least: amounts(20, 300) }));
      expect(never).toMatchObject({ reason: DenialReason.NEVER_FITS, needed: 320n, ceiling: 100n });
      expect(never.retryAfter).toBeUndefined();
      expect(isGranted(await reserve([limit], { estimate: amounts(20, 300), least: amounts(20) }))).toBe(true);
      expect(denialOf(await reserve([limit], { estimate: amounts(1) })).remaining).toBe(0n);
    });

    test("of a rate with a burst the burst is the whole that is told", async () => {
      const { reserve } = await world();
      const limit = limitOf("limit", { ...tokens, count: "1000", rate: { per: "60s", burst: "200" } });
      const least = amounts(0, 300);
      const never = denialOf(await reserve([limit], { estimate: least, least }));
      expect(never).toMatchObject({ reason: DenialReason.NEVER_FITS, needed: 300n, ceiling: 200n });
      const { outcome } = await reserve([limit], { estimate: amounts(0, 50) });
      expect(outcome.value).toMatchObject({ shares: [{ ceiling: 200n, remaining: 150n }] });
    });

    test("all limits or none: what one refuses the others do not count", async () => {
      const { store, reserve } = await world();
      const wide = limitOf("wide", { ...requests, count: "100" });
      const narrow = limitOf("narrow", { ...requests, count: "1" });
      await reserve([wide, narrow]);
      for (let i = 0; i < 20; i++) expect(denialOf(await reserve([wide, narrow])).limitId).toBe("narrow");
      const [status] = await store.status([wide]);
      expect(status?.remaining).toBe(99n);
    });

    test("of several that refuse, the one with the longest wait is named", async () => {
      const { reserve } = await world();
      const soon = limitOf("soon", { ...requests, count: "60" });
      const late = limitOf("late", { ...requests, count: "1" });
      for (let i = 0; i < 60; i++) await reserve([soon]);
      await reserve([late]);
      expect(denialOf(await reserve([soon, late])).limitId).toBe("late");
    });

    test("the largest limits on money count to the last billionth", async () => {
      const { store, reserve } = await world();
      const budget = { period: "CALENDAR_PERIOD_MONTH", timeZone: "Europe/Paris" };
      const money = { dimension: "DIMENSION_COST", costNanos: "1000000000000000000", currency: "USD", budget };
      const limit = limitOf("limit", money);
      const cost = (costNanos: bigint) => ({ ...amounts(), costNanos, currency: "USD" });
      const exactly = (costNanos: bigint) => reserve([limit], { estimate: cost(costNanos), least: cost(costNanos) });
      expect(isGranted(await exactly(999_999_999_999_999_999n))).toBe(true);
      expect((await store.status([limit]))[0]?.remaining).toBe(1n);
      expect(isGranted(await exactly(2n))).toBe(false);
      expect(isGranted(await exactly(1n))).toBe(true);
    });

    test("a ceiling at the contract's end, and amounts at theirs", async () => {
      const { store, reserve } = await world();
      const limit = limitOf("limit", { ...tokens, count: "1000000000000000" });
      const id = "0195f000-0000-7000-8000-000000000001";
      await reserve([limit], { estimate: amounts(1_000_000_000, 1_000_000_000) }, id);
      await store.settle([limit], settleRequest(id, amounts(1_000_000_000, 1_000_000_000)));
      const [status] = await store.status([limit]);
      expect(status).toMatchObject({ used: 2_000_000_000n, remaining: 999_998_000_000_000n });
    });
  });

  describe(`${name}: waiting`, () => {
    test.each([
      ["a rate of requests", { ...requests, count: "7" }, amounts()],
      ["a rate of tokens that divides badly", { ...tokens, count: "997" }, amounts(31, 300)],
      ["a rate of many tokens", { ...tokens, count: "1000003", rate: { per: "1.5s" } }, amounts(200_000, 100_001)],
    ])("after just the time that a refusal names it fits: %s", async (_what, spec, estimate) => {
      const { clock, reserve, store } = await world();
      const limit = limitOf("limit", spec);
      for (let round = 0; round < 50; round++) {
        let id = "";
        for (;;) {
          id = `0195f000-0000-7000-8000-${String(round).padStart(6, "0")}${String(clock.monotonicMs()).padStart(6, "0").slice(-6)}`;
          const answer = await reserve([limit], { estimate }, id);
          if (!isGranted(answer)) {
            const waitMs = waitOf(denialOf(answer));
            expect(waitMs).toBeGreaterThan(0);
            clock.advance(waitMs - 1);
            const early = await reserve([limit], { estimate });
            expect(isGranted(early)).toBe(false);
            clock.advance(1);
            expect(isGranted(await reserve([limit], { estimate }, id))).toBe(true);
            await store.settle([limit], settleRequest(id, estimate));
            break;
          }
          await store.settle([limit], settleRequest(id, estimate));
          clock.advance(1);
        }
      }
    });

    test("a budget names the end of its period, and begins anew then: a day of 23 hours", async () => {
      // Clocks in Paris go forward on 29 March 2026, at one o'clock UTC.
      const { clock, ids, store, reserve } = await world(Date.UTC(2026, 2, 28, 23, 0));
      const budget = { period: "CALENDAR_PERIOD_DAY", timeZone: "Europe/Paris" };
      const limit = limitOf("limit", { dimension: "DIMENSION_REQUESTS", count: "1", budget });
      const id = ids.uuidv7();
      expect(isGranted(await reserve([limit], {}, id))).toBe(true);
      await store.settle([limit], settleRequest(id, amounts(1, 1)));
      const denial = denialOf(await reserve([limit]));
      expect(denial.reason).toBe(DenialReason.BUDGET);
      expect(Number(denial.resetTime?.seconds) * 1_000).toBe(Date.UTC(2026, 2, 29, 22, 0));
      clock.advance(23 * 3_600_000 - 1);
      expect(isGranted(await reserve([limit]))).toBe(false);
      clock.advance(1);
      expect(isGranted(await reserve([limit]))).toBe(true);
    });

    test("a budget that is only set aside is not told as used up: what runs may give back the most of it", async () => {
      const { ids, store, reserve } = await world();
      const budget = { period: "CALENDAR_PERIOD_DAY" };
      const limit = limitOf("limit", { dimension: "DIMENSION_TOTAL_TOKENS", count: "10000", budget });
      const wish = { estimate: amounts(10, 4_000), least: amounts(10, 4_000) };
      const [first, second] = [ids.uuidv7(), ids.uuidv7()];
      for (const id of [first, second]) expect(isGranted(await reserve([limit], wish, id))).toBe(true);
      const denial = denialOf(await reserve([limit], wish));
      expect([denial.reason, waitOf(denial)]).toEqual([DenialReason.RATE, 15_000]);
      for (const id of [first, second]) await store.settle([limit], settleRequest(id, amounts(10, 3_000)));
      expect(denialOf(await reserve([limit], wish)).reason).toBe(DenialReason.BUDGET);
    });

    test("one request after the other is never refused at a concurrency of 1, however each ends", async () => {
      const { clock, ids, store, reserve } = await world();
      const limit = limitOf("limit", { ...atOnce, count: "1" });
      for (let i = 0; i < 10_000; i++) {
        const id = ids.uuidv7();
        const answer = await reserve([limit], { waitMs: 250 }, id);
        expect(isGranted(answer)).toBe(true);
        if (i % 3 === 0) await store.release(released(id));
        else if (i % 3 === 1) await store.settle([limit], settleRequest(id, amounts(3, 5)));
        else {
          await store.extend(extendRequest(id, 1, amounts(0, 9), amounts(1, 1)));
          await store.settle([limit], settleRequest(id, amounts()));
        }
        if (i % 100 === 0) clock.advance(1);
      }
    });

    test("who waits for a slot gets it in the order of arrival, and nobody who has given up does", async () => {
      const { clock, ids, store, reserve } = await world();
      const limit = limitOf("limit", { ...atOnce, count: "1" });
      const first = ids.uuidv7();
      await reserve([limit], {}, first);
      const order: string[] = [];
      const wait = (who: string, waitMs: number, id = ids.uuidv7()) => {
        const answer = reserve([limit], { waitMs }, id).then((got) => {
          order.push(`${who} ${got.outcome.case}`);
        });
        return { id, answer };
      };
      const impatient = wait("impatient", 50);
      const left = wait("left", 250);
      const second = wait("second", 250);
      const third = wait("third", 250);
      await clock.advanceAsync(60);
      await store.release(released(left.id));
      await store.settle([limit], settleRequest(first, amounts()));
      await second.answer;
      await store.settle([limit], settleRequest(second.id, amounts()));
      await Promise.all([impatient.answer, left.answer, third.answer]);
      expect(order).toEqual(["impatient denied", "left denied", "second granted", "third granted"]);
      expect(clock.pendingTimers).toBe(0);
    });
  });

  describe(`${name}: leases`, () => {
    test("only the store refuses: what others hold idle is asked back first", async () => {
      const { ids, store, reserve } = await world();
      const limit = limitOf("limit", { ...requests, count: "100" });
      const [lease] = (await store.lease([limit], leaseRequest(ids.uuidv7(), { nodeId: "idle" }))).leases;
      expect(lease?.amount).toBe(10n);
      store.onRecall((nodeId, { leaseId }) => {
        const reports = [reportOf(leaseId, 1n, { spent: 1n, reserved: 2n, amount: 3n })];
        void store.returnLease([limit], { $typeName: "weir.quota.v1.ReturnLeaseRequest", nodeId, reports });
      });
      const answers = await Promise.all(Array.from({ length: 120 }, () => reserve([limit])));
      expect(answers.filter(isGranted)).toHaveLength(97);
    });

    test("a node that does not answer a recall holds up nobody for longer than that", async () => {
      const { clock, ids, store, reserve } = await world();
      const limit = limitOf("limit", { ...requests, count: "40" });
      await store.lease([limit], leaseRequest(ids.uuidv7(), { nodeId: "silent" }));
      const answers = Array.from({ length: 60 }, () => reserve([limit]));
      await clock.advanceAsync(250);
      expect((await Promise.all(answers)).filter(isGranted)).toHaveLength(30);
    });

    test("a request that no recall could help asks nothing back, and the next one finds what is idle", async () => {
      const { clock, ids, store, reserve } = await world();
      const shared = limitOf("shared", { ...requests, count: "40", rate: { per: "86400s" } });
      const spent = limitOf("spent", { ...requests, count: "1" });
      await store.lease([shared], leaseRequest(ids.uuidv7(), { nodeId: "idle" }));
      let recalls = 0;
      store.onRecall((nodeId, { leaseId }) => {
        recalls += 1;
        const reports = [reportOf(leaseId, 1n, { spent: 0n, reserved: 0n, amount: 0n, returned: true })];
        void store.returnLease([shared], { $typeName: "weir.quota.v1.ReturnLeaseRequest", nodeId, reports });
      });
      await reserve([spent]);
      for (let at = 0; at < 30; at++) await reserve([shared]);
      expect(isGranted(await reserve([shared, spent]))).toBe(false);
      expect(recalls).toBe(0);
      await clock.advanceAsync(1_000);
      expect(isGranted(await reserve([shared]))).toBe(true);
      expect(recalls).toBe(1);
    });

    test("a dead node's slots are free after 15 s, and what else it held after 5 min more, or when its journal is read", async () => {
      const { clock, ids, store } = await world();
      const slots = limitOf("slots", { ...atOnce, count: "80" });
      const budget = limitOf("budget", {
        dimension: "DIMENSION_REQUESTS",
        count: "80",
        budget: { period: "CALENDAR_PERIOD_MONTH" },
      });
      const left = async () => (await store.status([slots, budget])).map(({ remaining }) => remaining);
      const lend = async (nodeId: string) =>
        (await store.lease([slots, budget], leaseRequest(ids.uuidv7(), { nodeId }))).leases;
      const [, first] = await lend("dead");
      expect(await left()).toEqual([70n, 70n]);
      clock.advance(15_000);
      expect(await left()).toEqual([80n, 70n]);
      const reports = [reportOf(first?.id ?? "", 9n, { spent: 4n, reserved: 0n, amount: 4n })];
      await store.returnLease([budget], { $typeName: "weir.quota.v1.ReturnLeaseRequest", nodeId: "dead", reports });
      expect(await left()).toEqual([80n, 76n]);
      await lend("dead for good");
      clock.advance(15_000);
      expect((await left())[1]).toBe(67n);
      clock.advance(300_000);
      expect((await left())[1]).toBe(76n);
    });

    test("what a dead process left running counts on what is reserved for it, also once that has expired, and nowhere else", async () => {
      const { clock, ids, store, reserve } = await world();
      const limit = limitOf("l", { ...requests, count: "10", rate: { per: "86400s" } });
      const used = async () => (await store.status([limit]))[0]?.used;
      const lost = (id: string) => store.settle([limit], { ...settleRequest(id, amounts(3, 0)), reservedOnly: true });
      const [running, expired] = [ids.uuidv7(), ids.uuidv7()];
      await reserve([limit], {}, expired);
      await clock.advanceAsync(10_000);
      await reserve([limit], {}, running);
      await clock.advanceAsync(6_000);
      expect(await used()).toBe(0n);
      for (const id of [running, expired, running, ids.uuidv7()]) await lost(id);
      expect(await used()).toBe(2n);
      expect((await store.status([limit]))[0]?.reserved).toBe(0n);
    });

    test("reports are those of their node, and later ones win", async () => {
      const { ids, store } = await world();
      const limit = limitOf("limit", { ...requests, count: "400" });
      const [lease] = (await store.lease([limit], leaseRequest(ids.uuidv7()))).leases;
      const tell = (nodeId: string, sequence: bigint, spent: bigint, amount: bigint) =>
        store.returnLease([limit], {
          $typeName: "weir.quota.v1.ReturnLeaseRequest",
          nodeId,
          reports: [reportOf(lease?.id ?? "", sequence, { spent, reserved: 1n, amount })],
        });
      await tell("node-1", 5n, 3n, 8n);
      await tell("node-1", 4n, 0n, 1n);
      await tell("node-1", 5n, 9n, 10n);
      await tell("node-2", 6n, 9n, 10n);
      expect((await store.status([limit]))[0]).toMatchObject({ used: 3n, leased: 5n, remaining: 392n });
    });
  });

  describe(`${name}: limits change`, () => {
    test("a lower ceiling leaves a debt, a higher one room; a forgotten limit refuses nobody", async () => {
      const { store, reserve } = await world();
      const limit = limitOf("limit", { ...atOnce, count: "5" });
      await Promise.all(Array.from({ length: 5 }, () => reserve([limit])));
      const lower = limitOf("limit", { ...atOnce, count: "2" });
      expect((await store.status([lower]))[0]?.remaining).toBe(-3n);
      // An older version that arrives late changes nothing.
      expect((await store.status([limit]))[0]?.remaining).toBe(-3n);
      const higher = limitOf("limit", { ...atOnce, count: "6" });
      expect(isGranted(await reserve([higher]))).toBe(true);
      const waiting = reserve([higher], { waitMs: 250 });
      store.forget("limit");
      expect(isGranted(await waiting)).toBe(true);
    });

    test.each([
      ["requests", requests],
      ["requests at once", atOnce],
    ])("a node is not lent anew what a lower ceiling on %s takes away", async (_what, spec) => {
      const { ids, store } = await world();
      const lend = (count: string, reports: LeaseRequest["reports"] = []) =>
        store.lease(
          [limitOf("limit", { ...spec, count })],
          leaseRequest(ids.uuidv7(), { requestsWanted: 1_000n, reports }),
        );
      const [lease] = (await lend("10000")).leases;
      expect(lease?.amount).toBe(1_000n);
      const report = reportOf(lease?.id ?? "", 1n, { spent: 0n, reserved: 0n, amount: 1_000n });
      const lower = await lend("100", [report]);
      expect([lower.leases, lower.central.map(({ id }) => id)]).toEqual([[], ["limit"]]);
    });

    test("a clock that goes back for hours gives no period a second time", async () => {
      const { clock, reserve } = await world(Date.UTC(2026, 2, 31, 1));
      const limit = limitOf("limit", {
        dimension: "DIMENSION_REQUESTS",
        count: "2",
        budget: { period: "CALENDAR_PERIOD_DAY" },
      });
      await reserve([limit]);
      clock.jumpWallTo(Date.UTC(2026, 2, 30, 22));
      await reserve([limit]);
      clock.jumpWallTo(Date.UTC(2026, 2, 31, 2));
      expect(isGranted(await reserve([limit]))).toBe(false);
    });
  });
}
