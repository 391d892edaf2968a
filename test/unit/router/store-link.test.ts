import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { SettleResponseSchema } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import { StoreLink } from "../../../services/router/quota/store-link.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { storeClient } from "../../fakes/quota-client.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

/** A link to a service that fails so often, each time after a second. */
function linkTo(failures: number, reason: ErrorReason) {
  const clock = new SimulatedClock();
  const news: string[] = [];
  let calls = 0;
  const link = new StoreLink({
    client: {
      ...storeClient(createMemoryQuotaStore({ clock, ids: systemIds }), []),
      settle: async () => {
        calls += 1;
        clock.advance(1_000);
        if (calls <= failures) throw fail(reason);
        return create(SettleResponseSchema);
      },
    },
    clock,
    holderId: "n.1",
    away: () => news.push("away"),
    back: () => news.push("back"),
  });
  const settle = () =>
    link.settle({}).then(
      () => "told",
      () => "failed",
    );
  return { link, clock, settle, news, calls: () => calls };
}

test("a call whose time passes while the service is heard is made again, and nobody is told that it is away", async () => {
  const { settle, news, calls } = linkTo(1, ErrorReason.DEADLINE_EXCEEDED);
  expect([await settle(), calls(), news]).toEqual(["told", 2, []]);
});

test("without a word of the service for 2 s it is away", async () => {
  const { settle, news, calls, clock } = linkTo(9, ErrorReason.DEADLINE_EXCEEDED);
  clock.advance(1_500);
  expect([await settle(), calls(), news]).toEqual(["failed", 1, ["away"]]);
});

test("a service that can't be reached is away at once, and back with its first word", async () => {
  const { link, settle, news, calls } = linkTo(1, ErrorReason.SERVICE_UNAVAILABLE);
  expect([await settle(), calls(), news]).toEqual(["failed", 1, ["away"]]);
  link.heard(3);
  expect([link.nodes, news]).toEqual([3, ["away", "back"]]);
});

test("a call that breaks after the service was heard of since is made again: it says nothing of how the service is now", async () => {
  const { link, settle, news, calls } = linkTo(1, ErrorReason.SERVICE_UNAVAILABLE);
  const first = settle();
  link.heard(1);
  expect([await first, calls(), news]).toEqual(["told", 2, []]);
});
