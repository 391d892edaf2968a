import { describe, expect, test } from "vitest";
import type { Limit } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import { leaseRequest, limitOf, perMinute, reserveRequest } from "../fakes/quota-messages.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { Around } from "./quota-store.ts";

const requests = { dimension: "DIMENSION_REQUESTS", ...perMinute };
const atOnce = { dimension: "DIMENSION_CONCURRENT_REQUESTS" };

/** What a store of counts has to do when limits are restored from an older copy. */
export function restoredRules(name: string, open: (around: Around) => Promise<QuotaStore>): void {
  async function world() {
    const clock = new SimulatedClock(Date.UTC(2026, 2, 31, 12));
    let byte = 0;
    const ids = createIdSource({ clock, randomBytes: (length) => Buffer.alloc(length, (byte = (byte + 1) & 0xff)) });
    const store = await open({ clock, ids });
    const reserve = (limit: Limit, waitMs?: number) =>
      store.reserve([limit], reserveRequest(ids.uuidv7(), waitMs === undefined ? {} : { waitMs }));
    const isGranted = async (limit: Limit, waitMs?: number) =>
      (await reserve(limit, waitMs)).outcome.case === "granted";
    return { ids, store, isGranted };
  }

  describe(`${name}: limits that are restored from an older copy`, () => {
    test("it counts by the version that it is told to believe, and what is drawn stays drawn", async () => {
      const { ids, store, isGranted } = await world();
      const restored = limitOf("l", { ...requests, count: "3" });
      const newer = limitOf("l", { ...requests, count: "100" });
      expect([await isGranted(newer), await isGranted(newer)]).toEqual([true, true]);
      store.believe(restored);
      expect([await isGranted(restored), await isGranted(restored)]).toEqual([true, false]);
      const [status] = await store.status([restored]);
      expect(status).toMatchObject({ limit: { revision: restored.revision }, remaining: 0n });
      const { central } = await store.lease([restored], leaseRequest(ids.uuidv7()));
      expect(central.map(({ revision }) => revision)).toEqual([restored.revision]);
    });

    test("who waits for what it has more of is served at once", async () => {
      const { store, isGranted } = await world();
      const restored = limitOf("l", { ...atOnce, count: "2" });
      const newer = limitOf("l", { ...atOnce, count: "1" });
      expect(await isGranted(newer)).toBe(true);
      const waiting = isGranted(newer, 250);
      store.believe(restored);
      expect(await waiting).toBe(true);
    });

    test("one that cannot be read closes itself alone", async () => {
      const { store, isGranted } = await world();
      const budget = { dimension: "DIMENSION_REQUESTS", count: "5" };
      const restored = limitOf("l", { ...budget, budget: { period: "CALENDAR_PERIOD_DAY", timeZone: "No/Where" } });
      const newer = limitOf("l", { ...budget, budget: { period: "CALENDAR_PERIOD_DAY" } });
      expect(await isGranted(newer)).toBe(true);
      store.believe(restored);
      await expect(isGranted(restored)).rejects.toThrow();
      expect(await isGranted(limitOf("other", { ...requests, count: "1" }))).toBe(true);
    });

    test("of a limit that nothing was counted of nothing is kept", async () => {
      const { store } = await world();
      const limit = limitOf("l", { ...requests, count: "3" });
      store.believe(limit);
      expect((await store.status([limit]))[0]?.remaining).toBe(3n);
    });
  });
}
