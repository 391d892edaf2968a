import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { Dimension, type Limit, LimitSchema } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { textDelta } from "../../../services/drivers/events.ts";
import { QuotaHolder } from "../../../services/router/quota/quota.ts";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import { systemClock } from "../../../services/runtime/clock.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import { storeClient } from "../../fakes/quota-client.ts";
import { RouterWorld } from "../../fakes/router-world.ts";

const failed = (error: unknown): never => {
  throw new Error("the store was away", { cause: error });
};

test.each([
  { what: "an answer", piece: "a", toolParser: ToolParser.UNSPECIFIED },
  // Each could begin a call, and is held back until the next.
  { what: "an answer that is read for calls", piece: "<", toolParser: ToolParser.HERMES },
])("$what ends beyond its budget as if its length was reached", async ({ piece, toolParser }) => {
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
  await using holder = new QuotaHolder({
    client: storeClient(store, [limit]),
    watch: () => () => undefined,
    clock: systemClock,
    ids: systemIds,
    holderId: "n",
    journal: undefined,
    notes: [],
    formerRequests: [],
    news: { away: failed, back: () => undefined, lost: failed },
  });
  const world = new RouterWorld({ quota: holder });
  world.model({ id: "m", toolParser, chatTemplate: { source: "x", sha256: "x" } });
  world.pool();
  world.replica("a", { features: [Feature.PROMPT] });
  const { sink } = world.call({ tools: toolParser === ToolParser.UNSPECIFIED ? [] : [{ name: "f" }] });
  await turns();
  const one = world.tryAt("a");
  for (let i = 0; i < 1_000; i++) {
    one.sink.event(textDelta(0, piece, 1));
    one.sink.turn();
    // The store answers between tokens.
    await turns();
  }
  expect(one.cancels).toHaveLength(1);
  const ends = sink.events.flatMap(({ event }) => (event.case === "finished" ? event.value.reason : []));
  expect(ends).toEqual([FinishReason.LENGTH]);
  // The first 256, a slice of as many, and what is left.
  expect(textOf(sink.events)).toBe(piece.repeat(600));
  expect(sink.ended).toBe(true);
  await turns();
  const [status] = await store.status([limit]);
  expect(status).toMatchObject({ used: 600n, reserved: 0n, leased: 0n });
  expect(world.journal.finals).toMatchObject([{ endReason: EndReason.LIMIT, tokens: { completionTokens: 600n } }]);
});

function textOf(events: readonly GenerateResponse[]): string {
  return events
    .map(({ event }) =>
      event.case === "delta" && event.value.fragment.case === "text" ? event.value.fragment.value : "",
    )
    .join("");
}

/** Lets promises and what they lead to run. */
async function turns(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
