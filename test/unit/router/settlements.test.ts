import { expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import { Settlements } from "../../../services/router/quota/settlements.ts";
import { StoreLink } from "../../../services/router/quota/store-link.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { storeClient } from "../../fakes/quota-client.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

test("what waits for a service that hangs is bounded, however long that lasts, and the rest is told of as lost", async () => {
  const clock = new SimulatedClock();
  let hanging = Promise.withResolvers<never>();
  let lost = 0;
  const link = new StoreLink({
    client: {
      ...storeClient(createMemoryQuotaStore({ clock, ids: systemIds }), []),
      settle: () => hanging.promise,
    },
    clock,
    holderId: "n.1",
    away: () => undefined,
    back: () => undefined,
  });
  const settlements = new Settlements({ link, clock, lost: () => (lost += 1) });
  const requests = 90_000;
  let told = 0;
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < requests; at++) settlements.settle({ requestId: "r" });
    told += requests;
    hanging.reject(fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "quota" }));
    hanging = Promise.withResolvers<never>();
    await new Promise((resolve) => setImmediate(resolve));
    expect(settlements.pending).toBeLessThanOrEqual(100_000);
    expect(settlements.pending + lost).toBe(told);
    // Some of them are sent again, and hang as well.
    clock.advance(5_000);
  }
  hanging.reject(fail(ErrorReason.NOT_FOUND));
  const end = settlements[Symbol.asyncDispose]();
  await clock.advanceAsync(2_000);
  await end;
});
