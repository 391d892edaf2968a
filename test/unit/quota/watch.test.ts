import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { type Lease, LeaseRecallSchema, LeaseSchema } from "../../../gen/ts/weir/quota/v1/lease_pb.ts";
import {
  QuotaService,
  WatchLeasesRequestSchema,
  type WatchLeasesResponse,
} from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { followLimits } from "../../../services/quota/limit-follower.ts";
import type { QuotaStore, RecallListener } from "../../../services/quota/store.ts";
import { createLeaseWatches } from "../../../services/quota/watch.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { callContext } from "../../../services/runtime/mesh/caller-context.ts";
import { FakeLimitStore } from "../../fakes/limits.ts";
import { RecordingSink } from "../../fakes/recording-sink.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

/** Leases that a test hands out, and recalls. */
class Leases implements Pick<QuotaStore, "id" | "leasesOf" | "onRecall"> {
  readonly id = "s1";
  readonly held = new Map<string, Lease[]>();
  #listener: RecallListener | undefined;
  away: Error | undefined;

  async leasesOf(nodeId: string): Promise<readonly Lease[]> {
    await Promise.resolve();
    if (this.away) throw this.away;
    return this.held.get(nodeId) ?? [];
  }

  onRecall(listener: RecallListener): () => void {
    this.#listener = listener;
    return () => {
      this.#listener = undefined;
    };
  }

  recall(nodeId: string, leaseId: string): void {
    this.#listener?.(nodeId, create(LeaseRecallSchema, { leaseId }));
  }

  get listened(): boolean {
    return this.#listener !== undefined;
  }
}

async function start() {
  const clock = new SimulatedClock();
  const limits = new FakeLimitStore();
  const follower = await followLimits({ store: limits, clock, log: pino({ level: "silent" }) });
  const store = new Leases();
  const watches = createLeaseWatches({ store, follower, clock });
  const watch = (nodeId: string, isFull = false) => {
    const sink = new RecordingSink<WatchLeasesResponse>();
    sink.isFull = isFull;
    const request = create(WatchLeasesRequestSchema, { nodeId });
    const cancel = watches.watch(request, callContext(QuotaService.method.watchLeases), sink);
    return {
      sink,
      cancel: () => {
        cancel(fail(ErrorReason.CANCELLED));
        sink.left();
      },
    };
  };
  const settled = () => clock.advanceAsync(0);
  return { clock, limits, follower, store, watches, watch, settled };
}

const told = ({ events }: RecordingSink<WatchLeasesResponse>) =>
  events.map(({ event }) => {
    if (event.case === "lease") return `lease ${event.value.id}`;
    if (event.case === "recall") return `recall ${event.value.leaseId}`;
    if (event.case === "limitChange") return `${event.value.deleted ? "gone" : "limit"} ${event.value.limitId}`;
    return event.case;
  });

const lease = (id: string) => create(LeaseSchema, { id });

test("a node is told of its leases, then of what happens, and of a beat every 500 ms", async () => {
  const { clock, limits, follower, store, watch, settled } = await start();
  store.held.set("n1", [lease("a"), lease("b")]);
  const { sink } = watch("n1");
  await settled();
  store.recall("n1", "a");
  store.recall("n2", "c");
  limits.put("limit-1");
  await follower.refresh();
  limits.remove("limit-1");
  await follower.refresh();
  expect(told(sink)).toEqual(["lease a", "lease b", "snapshotEnd", "recall a", "limit limit-1", "gone limit-1"]);
  expect(sink.events.map(({ revision }) => revision)).toEqual([1n, 1n, 1n, 1n, 2n, 3n]);
  expect(sink.events[4]?.event.value).toMatchObject({ subject: { id: "acme-one" } });
  await clock.advanceAsync(1_700);
  expect(told(sink).slice(6)).toEqual(["heartbeat", "heartbeat", "heartbeat"]);
  expect(sink.events.at(-1)?.revision).toBe(3n);
});

test("what happens while the store is asked comes after the snapshot", async () => {
  const { limits, follower, store, watch, settled } = await start();
  store.held.set("n1", [lease("a")]);
  limits.put("limit-1");
  const { sink } = watch("n1");
  store.recall("n1", "a");
  await follower.refresh();
  await settled();
  expect(told(sink)).toEqual(["lease a", "snapshotEnd", "recall a", "limit limit-1"]);
  // Nothing says that a change is known before it is told.
  expect(sink.events.map(({ revision }) => revision)).toEqual([1n, 1n, 1n, 2n]);
});

test("a node that does not keep up hears of each once, when it has room, in the order of revisions", async () => {
  const { clock, limits, follower, store, watch, settled } = await start();
  store.held.set("n1", [lease("a")]);
  const { sink } = watch("n1", true);
  await settled();
  for (let round = 0; round < 50; round++) {
    store.recall("n1", "a");
    limits.put("busy", { count: String(round) });
    if (round === 20) limits.put("calm");
    await follower.refresh();
  }
  await clock.advanceAsync(5_000);
  expect(sink.events).toEqual([]);
  sink.isFull = false;
  sink.resume?.();
  expect(told(sink)).toEqual(["lease a", "snapshotEnd", "recall a", "limit calm", "limit busy"]);
  expect(sink.events.map(({ revision }) => revision)).toEqual([1n, 1n, 1n, 23n, 52n]);
});

test("a newer stream of a node ends the older one, and the older one's leaving harms it not", async () => {
  const { store, watch, settled } = await start();
  const older = watch("n1");
  await settled();
  const newer = watch("n1");
  await settled();
  expect([older.sink.ended, newer.sink.ended]).toEqual([true, false]);
  older.cancel();
  store.recall("n1", "a");
  expect(told(newer.sink)).toEqual(["snapshotEnd", "recall a"]);
  expect(told(older.sink)).toEqual(["snapshotEnd"]);
});

test("a store that is away fails the stream with its reason", async () => {
  const { store, watch, settled } = await start();
  store.away = fail(ErrorReason.STORE_UNAVAILABLE);
  const { sink } = watch("n1");
  await settled();
  expect(sink.error?.reason).toBe(ErrorReason.STORE_UNAVAILABLE);
});

test("a node whose leases could not be told is not counted among those that watch", async () => {
  const { store, watch, settled } = await start();
  store.away = fail(ErrorReason.STORE_UNAVAILABLE);
  const failed = watch("n1");
  await settled();
  expect(failed.sink.error?.reason).toBe(ErrorReason.STORE_UNAVAILABLE);
  store.away = undefined;
  const { sink } = watch("n2");
  await settled();
  expect(sink.events.map(({ nodes }) => nodes)).toEqual([1]);
});

test("nothing is left of a node that leaves, nor of a service that stops", async () => {
  const { clock, follower, store, watches, watch, settled } = await start();
  const left = watch("n1");
  const stays = watch("n2");
  await settled();
  left.cancel();
  store.recall("n1", "a");
  await clock.advanceAsync(1_000);
  watches[Symbol.dispose]();
  await follower[Symbol.asyncDispose]();
  expect([stays.sink.ended, store.listened, clock.pendingTimers]).toEqual([true, false, 0]);
});

test("every message tells how many nodes watch", async () => {
  const { clock, watch, settled } = await start();
  const first = watch("node-a");
  await settled();
  const second = watch("node-b");
  await settled();
  clock.advance(500);
  second.cancel();
  clock.advance(500);
  expect(first.sink.events.map(({ nodes }) => nodes)).toEqual([1, 2, 1]);
  expect(second.sink.events[0]?.nodes).toBe(2);
});
