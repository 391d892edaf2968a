import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  CatalogService,
  WatchRequestSchema,
  type WatchResponse,
  WatchResponseSchema,
} from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { ReplicaSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Resource } from "../../../services/catalog/resource.ts";
import { createMemoryStore } from "../../../services/catalog/store.ts";
import { watchCatalog } from "../../../services/catalog/watch.ts";
import { callContext } from "../../../services/runtime/mesh/caller-context.ts";
import { RecordingSink } from "../../fakes/recording-sink.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

function replica(id: string, running: number): Resource {
  return { case: "replica", value: create(ReplicaSchema, { id, state: { load: { running } } }) };
}

function runningIn({ event }: WatchResponse): readonly unknown[] {
  if (event.case !== "change" || event.value.resource.case !== "replica") return [event.case];
  const { id, state } = event.value.resource.value;
  return [id, state?.load?.running];
}

test("what can't be written for a watcher is left out, told once, and harms nobody else", () => {
  const refused: string[] = [];
  const store = createMemoryStore((key, error) => void refused.push(`${key}: ${String(error)}`));
  store.settle();
  const sink = new RecordingSink<WatchResponse>();
  watchCatalog(store, new SimulatedClock())(create(WatchRequestSchema), callContext(CatalogService.method.watch), sink);
  store.commit([{ resource: replica("a", 3) }]);
  for (let probe = 0; probe < 3; probe++)
    store.commit([{ resource: replica("a", 1e300) }, { resource: replica("b", probe) }]);
  expect(sink.events.map(runningIn)).toEqual([["snapshotEnd"], ["a", 3], ["b", 0], ["b", 1], ["b", 2]]);
  for (const event of sink.events) toBinary(WatchResponseSchema, event);
  expect(refused).toEqual([expect.stringMatching(/^replica\/a: .*1e\+?300/)]);

  store.commit([{ resource: replica("a", 4) }]);
  store.commit([{ resource: replica("a", 1e300) }]);
  expect(store.get("replica/a")).toMatchObject({ value: { state: { load: { running: 4 } } } });
  expect(refused).toHaveLength(2);
});
