import { create } from "@bufbuild/protobuf";
import { type LeaseRecall, LimitChangeSchema } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import {
  type WatchLeasesRequest,
  type WatchLeasesResponse,
  WatchLeasesResponse_HeartbeatSchema,
  WatchLeasesResponse_SnapshotEndSchema,
  WatchLeasesResponseSchema,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { weirErrorFrom } from "../runtime/errors/fail.ts";
import type { PushHandler, Sink } from "../runtime/mesh/push.ts";
import type { LimitFollower } from "./limit-follower.ts";
import type { LimitVersion } from "./limit-store.ts";
import type { QuotaStore } from "./store.ts";

/** A node that heard nothing for four of these knows that the way is cut. */
const heartbeatMs = 500;

export interface LeaseWatchOptions {
  readonly store: Pick<QuotaStore, "id" | "leasesOf" | "onRecall">;
  readonly follower: Pick<LimitFollower, "book" | "onChange">;
  readonly clock: Clock;
}

/** Every node's watch of its leases. Disposing ends them all. */
export interface LeaseWatches extends Disposable {
  readonly watch: PushHandler<WatchLeasesRequest, WatchLeasesResponse>;
}

/**
 * Streams to each node what it has to know about its leases; one stream a node, of which the newest lives. It is in one
 * of two states:
 *
 * - **snapshot**: the store is asked for the node's leases, which are sent while the node has room. When none is left,
 *   `snapshot_end` goes out.
 * - **live**: recalls and changed limits are sent while there is room, those that came meanwhile first.
 *
 * In both a heartbeat goes out every 500 ms. A node that does not keep up costs one entry for each of its leases and
 * for each limit that changed, and hears of each once.
 */
export function createLeaseWatches(options: LeaseWatchOptions): LeaseWatches {
  const watchers = new Map<string, Watcher>();
  const unrecall = options.store.onRecall((nodeId, recall) => watchers.get(nodeId)?.recalled(recall));
  const unfollow = options.follower.onChange((version) => {
    for (const watcher of watchers.values()) watcher.changed(version);
  });
  return {
    watch({ nodeId }, _context, sink) {
      watchers.get(nodeId)?.end();
      const watcher = new Watcher(options, sink, {
        nodes: () => watchers.size,
        closed: () => {
          if (watchers.get(nodeId) === watcher) watchers.delete(nodeId);
        },
      });
      watchers.set(nodeId, watcher);
      watcher.begin(nodeId);
      return () => watcher.close();
    },
    [Symbol.dispose]() {
      unrecall();
      unfollow();
      for (const watcher of watchers.values()) watcher.end();
    },
  };
}

type Event = WatchLeasesResponse["event"];

/** What a watcher has to do with the others. */
interface Among {
  /** How many nodes watch. */
  nodes(): number;
  /** It says nothing more. */
  closed(): void;
}

class Watcher {
  readonly #options: LeaseWatchOptions;
  readonly #sink: Sink<WatchLeasesResponse>;
  readonly #among: Among;
  /** What is left of the snapshot, the last one first; empty until the store has answered. */
  #snapshot: Event[] = [];
  #live = false;
  readonly #recalls = new Map<string, LeaseRecall>();
  readonly #changes = new Map<string, LimitVersion>();
  /** While there are changes to tell: the revision before the first of them. */
  #known = 0n;
  #beat: Timer;
  #closed = false;

  constructor(options: LeaseWatchOptions, sink: Sink<WatchLeasesResponse>, among: Among) {
    this.#options = options;
    this.#sink = sink;
    this.#among = among;
    const resume = (): void => this.#tell();
    sink.resume = resume;
    this.#beat = this.#startBeat();
  }

  /** Tells of the node's leases, and of what happens from then on. */
  begin(nodeId: string): void {
    void this.#begin(nodeId);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#beat.cancel();
    this.#sink.resume = undefined;
    this.#among.closed();
  }

  /** Another one takes its place, or the service stops. */
  end(): void {
    if (this.#closed) return;
    this.close();
    this.#sink.end();
  }

  recalled(recall: LeaseRecall): void {
    if (this.#closed) return;
    this.#recalls.set(recall.leaseId, recall);
    this.#tell();
  }

  changed(version: LimitVersion): void {
    if (this.#closed) return;
    if (this.#changes.size === 0) this.#known = version.limit.revision - 1n;
    // Again at the end: revisions are told in their order.
    this.#changes.delete(version.limit.id);
    this.#changes.set(version.limit.id, version);
    this.#tell();
  }

  async #begin(nodeId: string): Promise<void> {
    try {
      const leases = await this.#options.store.leasesOf(nodeId);
      const ended: Event = { case: "snapshotEnd", value: create(WatchLeasesResponse_SnapshotEndSchema) };
      this.#snapshot = [ended, ...leases.toReversed().map((value): Event => ({ case: "lease", value }))];
    } catch (thrown) {
      if (this.#closed) return;
      this.close();
      this.#sink.fail(weirErrorFrom(thrown));
      return;
    }
    this.#tell();
  }

  #startBeat(): Timer {
    return this.#options.clock.setTimer(heartbeatMs, () => {
      this.#beat = this.#startBeat();
      // A node that has no room is told something later anyway.
      if (this.#sink.full()) return;
      this.#send({ case: "heartbeat", value: create(WatchLeasesResponse_HeartbeatSchema) }, this.#revision());
      this.#sink.turn();
    });
  }

  /** Up to where the node has been told of every change. */
  #revision(): bigint {
    return this.#changes.size === 0 ? this.#options.follower.book.revision : this.#known;
  }

  #tell(): void {
    if (this.#closed) return;
    this.#tellSnapshot();
    if (this.#live) {
      for (const [leaseId, value] of this.#recalls) {
        if (this.#closed || this.#sink.full()) break;
        this.#recalls.delete(leaseId);
        this.#send({ case: "recall", value }, this.#revision());
      }
      for (const [limitId, version] of this.#changes) {
        if (this.#closed || this.#sink.full()) break;
        this.#changes.delete(limitId);
        this.#send(changeOf(version), version.limit.revision);
      }
    }
    if (!this.#closed) this.#sink.turn();
  }

  #tellSnapshot(): void {
    while (!this.#closed && !this.#sink.full()) {
      const event = this.#snapshot.pop();
      if (event === undefined) return;
      this.#live = event.case === "snapshotEnd";
      this.#send(event, this.#revision());
    }
  }

  #send(event: Event, revision: bigint): void {
    const { id: storeId } = this.#options.store;
    this.#sink.event(create(WatchLeasesResponseSchema, { revision, event, nodes: this.#among.nodes(), storeId }));
  }
}

function changeOf({ limit, deleted }: LimitVersion): Event {
  const subject = limit.spec?.subject;
  const value = create(LimitChangeSchema, { limitId: limit.id, deleted, ...(subject ? { subject } : {}) });
  return { case: "limitChange", value };
}
