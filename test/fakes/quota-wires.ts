import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Limit, LimitStatus } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  QuotaService,
  WatchLeasesRequestSchema,
  type WatchLeasesResponse,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { createLimitBook } from "../../services/quota/limit-book.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { createMemoryQuotaStore } from "../../services/quota/store-memory.ts";
import { createLeaseWatches, type LeaseWatches } from "../../services/quota/watch.ts";
import type { QuotaClient } from "../../services/router/quota/store-link.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import type { IdSource } from "../../services/runtime/ids.ts";
import { callContext } from "../../services/runtime/mesh/caller-context.ts";
import type { Cancel, Sink } from "../../services/runtime/mesh/push.ts";
import { storeClient } from "./quota-client.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** One life of the process that counts. */
interface Life {
  readonly store: QuotaStore;
  readonly watches: LeaseWatches;
  alive: boolean;
}

export interface QuotaWiresOptions {
  readonly clock: SimulatedClock;
  readonly random: SeededRandom;
  readonly ids: IdSource;
  readonly limits: readonly Limit[];
}

/**
 * The quota service in a process of its own, and wires to it on which everything takes its time. Both can fail as real
 * ones do: a process that is **killed** breaks what is on its way and knows nothing when it comes back; while it is
 * **stopped**, or the network is **cut**, calls and answers wait, and arrive later, perhaps after their time.
 */
export class QuotaWires {
  readonly #options: QuotaWiresOptions;
  #life: Life | undefined;
  #holding = false;
  #held: (() => void)[] = [];
  readonly #broken = new Set<() => void>();

  constructor(options: QuotaWiresOptions) {
    this.#options = options;
    this.start();
  }

  /** Something is wrong at this moment. */
  get isFaulty(): boolean {
    return this.#life === undefined || this.#holding;
  }

  start(): void {
    const { clock, ids } = this.#options;
    const store = createMemoryQuotaStore({ clock, ids });
    const follower = { book: createLimitBook(), onChange: () => () => undefined };
    this.#life = { store, watches: createLeaseWatches({ store, follower, clock }), alive: true };
  }

  kill(): void {
    if (this.#life) this.#life.alive = false;
    this.#life = undefined;
    for (const broken of this.#broken) broken();
  }

  /** Nothing moves: the process is stopped, or the network is. */
  hold(): void {
    this.#holding = true;
  }

  /** What waited moves on. */
  release(): void {
    this.#holding = false;
    const held = this.#held;
    this.#held = [];
    for (const go of held) this.#travel(go);
  }

  /** What the store says of a limit. */
  async status(limit: Limit): Promise<LimitStatus> {
    const [status] = (await this.#life?.store.status([limit])) ?? [];
    if (status === undefined) throw new Error("nobody counts");
    return status;
  }

  client(): QuotaClient {
    const over =
      <I, O>(run: (client: QuotaClient, request: I) => Promise<O>) =>
      (request: I, options?: { timeoutMs?: number | undefined }): Promise<O> =>
        this.#call((client) => run(client, request), options?.timeoutMs ?? 5_000);
    return {
      reserve: over((client, request) => client.reserve(request)),
      lease: over((client, request) => client.lease(request)),
      extend: over((client, request) => client.extend(request)),
      settle: over((client, request) => client.settle(request)),
      release: over((client, request) => client.release(request)),
      returnLease: over((client, request) => client.returnLease(request)),
    };
  }

  /** Opens a watch, whose events arrive in their order. */
  watch(nodeId: string, sink: Sink<WatchLeasesResponse>): Cancel {
    let over = false;
    let cancel: Cancel | undefined;
    let lastMs = 0;
    const { clock } = this.#options;
    const inOrder = (go: () => void): void => {
      lastMs = Math.max(lastMs, clock.monotonicMs() + this.#tripMs());
      this.#wait(lastMs - clock.monotonicMs(), () => {
        if (!over) go();
      });
    };
    const end = (how: () => void): void => {
      if (over) return;
      over = true;
      this.#broken.delete(broken);
      how();
    };
    const broken = (): void => end(() => sink.fail(fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "quota" })));
    this.#broken.add(broken);
    const life = this.#life;
    this.#travel(() => {
      if (over) return;
      if (life === undefined || this.#life !== life) return broken();
      const remote: Sink<WatchLeasesResponse> = {
        event: (message) => inOrder(() => sink.event(message)),
        turn: () => undefined,
        end: () => inOrder(() => end(() => sink.end())),
        fail: (error) => inOrder(() => end(() => sink.fail(error))),
        full: () => false,
        resume: undefined,
      };
      const { watchLeases } = QuotaService.method;
      const request = create(WatchLeasesRequestSchema, { nodeId });
      cancel = life.watches.watch(request, callContext(watchLeases, { trusted: true }), remote);
    });
    return (reason) => end(() => cancel?.(reason));
  }

  #call<O>(run: (client: QuotaClient) => Promise<O>, timeoutMs: number): Promise<O> {
    const life = this.#life;
    const { promise, resolve, reject } = Promise.withResolvers<O>();
    const broken = (): void => done(() => reject(fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "quota" })));
    const deadline = this.#options.clock.setTimer(timeoutMs, () =>
      done(() => reject(fail(ErrorReason.DEADLINE_EXCEEDED))),
    );
    const done = (how: () => void): void => {
      deadline.cancel();
      this.#broken.delete(broken);
      how();
    };
    const serve = async (): Promise<void> => {
      if (life === undefined || this.#life !== life) return broken();
      try {
        const answer = await run(storeClient(life.store, this.#options.limits));
        this.#travel(() => {
          if (life.alive) done(() => resolve(answer));
        });
      } catch (error) {
        this.#travel(() => done(() => reject(error)));
      }
    };
    this.#broken.add(broken);
    this.#travel(() => void serve());
    return promise;
  }

  /** The way there, or back. */
  #travel(go: () => void): void {
    this.#wait(this.#tripMs(), go);
  }

  #wait(ms: number, go: () => void): void {
    this.#options.clock.setTimer(ms, () => {
      if (this.#holding) this.#held.push(go);
      else go();
    });
  }

  /** Mostly some milliseconds; on a busy machine now and then far more. */
  #tripMs(): number {
    const { random } = this.#options;
    return random.below(50) === 0 ? random.below(60) : 1 + random.below(4);
  }
}
