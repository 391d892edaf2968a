import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { amounts, extendRequest, limitOf, reserveRequest, settleRequest } from "../fakes/quota-messages.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { Around } from "./quota-store.ts";

const limit = limitOf("limit", { dimension: "DIMENSION_TOTAL_TOKENS", count: "1000", rate: { per: "86400s" } });

/** What a store of counts has to do when a request is released, whatever is said of it before and after. */
export function releaseRules(name: string, open: (around: Around) => Promise<QuotaStore>): void {
  async function world() {
    const clock = new SimulatedClock(Date.UTC(2026, 2, 31, 12));
    const ids = createIdSource({ clock, randomBytes: (length) => Buffer.alloc(length) });
    const store = await open({ clock, ids });
    const id = ids.uuidv7();
    return {
      clock,
      store,
      id,
      reserve: () => store.reserve([limit], reserveRequest(id, { estimate: amounts(100) })),
      release: () => store.release({ $typeName: "weir.quota.v1.ReleaseRequest", requestId: id }),
      counted: async () => (await store.status([limit])).map(({ used, reserved }) => [used, reserved]),
    };
  }

  describe(`${name}: releases`, () => {
    test("what a request used counts although it was released, whatever else comes late", async () => {
      const { store, id, reserve, release, counted } = await world();
      await reserve();
      await release();
      expect(await counted()).toEqual([[0n, 0n]]);
      for (let copy = 0; copy < 2; copy++) {
        await store.settle([limit], settleRequest(id, amounts(30, 45)));
        await release();
        await reserve();
        expect(await counted()).toEqual([[75n, 0n]]);
      }
    });

    test("what a request had told before it expired is given back once it turns out to have used nothing", async () => {
      const { clock, store, id, reserve, release, counted } = await world();
      await reserve();
      await store.extend(extendRequest(id, 1, amounts(), amounts(50)));
      clock.advance(15_000);
      expect(await counted()).toEqual([[50n, 0n]]);
      for (let copy = 0; copy < 2; copy++) {
        await release();
        await expect(reserve()).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
        expect(await counted()).toEqual([[0n, 0n]]);
      }
      await store.settle([limit], settleRequest(id, amounts(30, 45)));
      expect(await counted()).toEqual([[75n, 0n]]);
    });
  });
}
