import { create } from "@bufbuild/protobuf";
import {
  type WatchRequest,
  type WatchResponse,
  WatchResponse_HeartbeatSchema,
  WatchResponse_SnapshotEndSchema,
  WatchResponseSchema,
} from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import type { PushHandler, Sink } from "../runtime/mesh/push.ts";
import { gone, put } from "./resource.ts";
import type { CatalogStore } from "./store.ts";

/** A watcher that heard nothing for a few of these knows that the connection is dead. */
const heartbeatMs = 500;

/**
 * Streams the catalogue to one watcher. It is in one of two states:
 *
 * - **snapshot**: what the watcher has not been told is a set of keys, at first everything. They are sent while the
 *   watcher has room. When none is left and the store is settled, `snapshot_end` goes out.
 * - **live**: a commit adds its keys to the set, and what is in it is sent while there is room.
 *
 * In both, a heartbeat goes out every 500 ms. A watcher that does not keep up costs one key a resource and gets each resource once, as it is by then.
 */
export function watchCatalog(store: CatalogStore, clock: Clock): PushHandler<WatchRequest, WatchResponse> {
  return (_request, _context, sink) => {
    const watcher = new Watcher(store, clock, sink);
    return () => watcher.close();
  };
}

class Watcher {
  readonly #store: CatalogStore;
  readonly #clock: Clock;
  readonly #sink: Sink<WatchResponse>;
  readonly #untold: Set<string>;
  readonly #unsubscribe: () => void;
  #beat: Timer;
  #live = false;
  #closed = false;

  constructor(store: CatalogStore, clock: Clock, sink: Sink<WatchResponse>) {
    this.#store = store;
    this.#clock = clock;
    this.#sink = sink;
    this.#untold = new Set(store.keys());
    this.#unsubscribe = store.subscribe((keys) => {
      for (const key of keys) this.#untold.add(key);
      this.#tell();
    });
    const resume = (): void => this.#tell();
    sink.resume = resume;
    this.#beat = this.#startBeat();
    this.#tell();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    this.#beat.cancel();
    this.#sink.resume = undefined;
  }

  #startBeat(): Timer {
    return this.#clock.setTimer(heartbeatMs, () => {
      this.#beat = this.#startBeat();
      if (!this.#sink.full()) {
        this.#send({ case: "heartbeat", value: create(WatchResponse_HeartbeatSchema) });
        this.#sink.turn();
      }
    });
  }

  #tell(): void {
    for (const key of this.#untold) {
      if (this.#closed || this.#sink.full()) break;
      this.#untold.delete(key);
      const resource = this.#store.get(key);
      this.#send({ case: "change", value: resource ? put(resource) : gone(key) });
    }
    if (this.#closed) return;
    if (!this.#live && this.#store.settled && this.#untold.size === 0) {
      this.#live = true;
      this.#send({ case: "snapshotEnd", value: create(WatchResponse_SnapshotEndSchema) });
    }
    this.#sink.turn();
  }

  #send(event: WatchResponse["event"]): void {
    this.#sink.event(create(WatchResponseSchema, { revision: this.#store.revision, event }));
  }
}
