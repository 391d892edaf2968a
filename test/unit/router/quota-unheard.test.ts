import { expect, test } from "vitest";
import { QuotaHolder } from "../../../services/router/quota/quota.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";
import { QuotaWires } from "../../fakes/quota-wires.ts";
import { seededRandom } from "../../fakes/seeded-random.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const limit = limitOf("l", { count: "40", rate: { per: "86400s" } });

/** A node, of which the answers to calls for leases are lost. */
function world() {
  const clock = new SimulatedClock();
  const wires = new QuotaWires({ clock, random: seededRandom(1), ids: systemIds, limits: [limit] });
  const client = wires.client();
  const holder = new QuotaHolder({
    client: {
      ...client,
      async lease(request, options) {
        await client.lease(request, options);
        throw fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "quota" });
      },
    },
    watch: (sink) => wires.watch("n", sink),
    clock,
    ids: systemIds,
    holderId: "n",
    journal: undefined,
    notes: [],
    formerRequests: [],
    news: { away: () => undefined, back: () => undefined, lost: () => undefined },
  });
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed++) {
      clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { wires, holder, pass };
}

test("a lease whose answer was lost is given back when its life is over", async () => {
  const { wires, holder, pass } = world();
  await pass(100);
  const taking = take(holder);
  await pass(3_000);
  expect(await taking).toBe(undefined);
  expect((await wires.status(limit)).leased).toBeGreaterThan(0n);
  await pass(15_000);
  // Somebody calls.
  await wires.status(limit);
  await pass(200);
  expect((await wires.status(limit)).leased).toBe(0n);
});

test("it is given back also where the node could not be told then", async () => {
  const { wires, holder, pass } = world();
  await pass(100);
  const taking = take(holder);
  await pass(3_000);
  expect(await taking).toBe(undefined);
  wires.hold();
  await pass(15_000);
  expect((await wires.status(limit)).leased).toBeGreaterThan(0n);
  wires.release();
  await pass(6_000);
  expect((await wires.status(limit)).leased).toBe(0n);
});
