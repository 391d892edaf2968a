import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  ExtendRequestSchema,
  LeaseRequestSchema,
  ReleaseRequestSchema,
  ReleaseResponseSchema,
  ReserveRequestSchema,
  ReturnLeaseRequestSchema,
  ReturnLeaseResponseSchema,
  SettleRequestSchema,
} from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { QuotaClient } from "../../../services/router/quota/store-link.ts";
import { Dimension, type Limit, LimitSchema } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { textDelta } from "../../../services/drivers/events.ts";
import { QuotaHolder } from "../../../services/router/quota/quota.ts";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import { systemClock } from "../../../services/runtime/clock.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { RouterWorld } from "../../fakes/router-world.ts";

const failed = (error: unknown): never => {
  throw new Error("the store was away", { cause: error });
};

test("an answer beyond its budget ends as if its length was reached", async () => {
  const limit: Limit = create(LimitSchema, {
    id: "l",
    revision: 1n,
    spec: {
      dimension: Dimension.OUTPUT_TOKENS,
      ceiling: { case: "count", value: 600n },
      window: { case: "budget", value: { period: 1 } },
    },
  });
  const store = createMemoryQuotaStore({ clock: systemClock, ids: systemIds });
  const all = [limit];
  const client: QuotaClient = {
    reserve: (request) => store.reserve(all, create(ReserveRequestSchema, request)),
    lease: (request) => store.lease(all, create(LeaseRequestSchema, request)),
    extend: (request) => store.extend(create(ExtendRequestSchema, request)),
    settle: (request) => store.settle(all, create(SettleRequestSchema, request)),
    async release(request) {
      await store.release(create(ReleaseRequestSchema, request));
      return create(ReleaseResponseSchema);
    },
    async returnLease(request) {
      await store.returnLease(create(ReturnLeaseRequestSchema, request));
      return create(ReturnLeaseResponseSchema);
    },
  };
  await using holder = new QuotaHolder({
    client,
    watch: () => () => undefined,
    clock: systemClock,
    ids: systemIds,
    nodeId: "n",
    journal: undefined,
    notes: [],
    news: { away: failed, back: () => undefined, lost: failed },
  });
  const world = new RouterWorld({ quota: holder });
  world.model({ id: "m" });
  world.pool();
  world.replica("a");
  const { sink } = world.call({});
  await turns();
  const one = world.tryAt("a");
  for (let i = 0; i < 1_000; i++) {
    one.sink.event(textDelta(0, "a", 1));
    one.sink.turn();
    // The store answers between tokens.
    await turns();
  }
  expect(one.cancels).toHaveLength(1);
  const ends = sink.events.flatMap(({ event }) => (event.case === "finished" ? event.value.reason : []));
  expect(ends).toEqual([FinishReason.LENGTH]);
  // The first 256, and a slice of as many: the next does not fit into 600.
  expect(sink.events.filter(({ event }) => event.case === "delta")).toHaveLength(512);
  expect(sink.ended).toBe(true);
  await turns();
  const [status] = await store.status(all);
  expect(status).toMatchObject({ used: 512n, reserved: 0n, leased: 0n });
  expect(world.journal.finals).toMatchObject([{ endReason: EndReason.LIMIT, tokens: { completionTokens: 512n } }]);
});

/** Lets promises and what they lead to run. */
async function turns(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
