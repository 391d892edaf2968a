import type { CallOptions } from "@connectrpc/connect";
import type { WatchLeasesResponse } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { QuotaHolder } from "../../services/router/quota/quota.ts";
import type { QuotaClient } from "../../services/router/quota/store-link.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import type { IdSource } from "../../services/runtime/ids.ts";
import type { Cancel, Sink } from "../../services/runtime/mesh/push.ts";
import type { QuotaWires } from "./quota-wires.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

export interface MortalNodeOptions {
  readonly clock: SimulatedClock;
  readonly ids: IdSource;
  readonly wires: QuotaWires;
  readonly lost: (requestId: string) => void;
}

/** One process of a node: dead, it says, hears and notes nothing more. */
export class NodeLife {
  readonly holder: QuotaHolder;
  dead = false;
  #watch: Cancel | undefined;
  readonly #deaths: (() => void)[] = [];

  constructor(holderId: string, notes: Buffer[], { clock, ids, wires, lost }: MortalNodeOptions) {
    this.holder = new QuotaHolder({
      client: this.#mortal(wires.client()),
      watch: (sink) => this.#open(wires, holderId, sink),
      clock,
      ids,
      holderId,
      journal: {
        wait: (waiter) => {
          if (this.dead) return;
          waiter.append();
          waiter.flushed();
        },
        note: (note) => !this.dead && notes.push(Buffer.from(note)) > 0,
        over: () => void (this.dead || (notes.length = 0)),
      },
      notes: [...notes],
      formerRequests: [],
      news: { away: () => undefined, back: () => undefined, lost },
    });
  }

  onDeath(listener: () => void): void {
    if (this.dead) listener();
    else this.#deaths.push(listener);
  }

  kill(): void {
    this.dead = true;
    this.#watch?.(fail(ErrorReason.CANCELLED));
    for (const listener of this.#deaths) listener();
  }

  #open(wires: QuotaWires, holderId: string, sink: Sink<WatchLeasesResponse>): Cancel {
    if (this.dead) return () => undefined;
    const cancel = wires.watch(holderId, sink);
    this.#watch = cancel;
    return cancel;
  }

  #mortal(client: QuotaClient): QuotaClient {
    const over =
      <I, O>(run: (request: I, options?: CallOptions) => Promise<O>) =>
      async (request: I, options?: CallOptions): Promise<O> => {
        const never = new Promise<never>(() => undefined);
        if (this.dead) return never;
        try {
          const answer = await run(request, options);
          return this.dead ? await never : answer;
        } catch (error) {
          if (this.dead) return never;
          throw error;
        }
      };
    return {
      reserve: over((request, options) => client.reserve(request, options)),
      lease: over((request, options) => client.lease(request, options)),
      extend: over((request, options) => client.extend(request, options)),
      settle: over((request, options) => client.settle(request, options)),
      release: over((request, options) => client.release(request, options)),
      returnLease: over((request, options) => client.returnLease(request, options)),
    };
  }
}

/** A node whose processes die and are followed by others, which find what those had noted. */
export class MortalNode {
  life: NodeLife;
  readonly notes: Buffer[] = [];
  readonly #id: string;
  readonly #options: MortalNodeOptions;
  #lives = 1;

  constructor(id: string, options: MortalNodeOptions) {
    this.#id = id;
    this.#options = options;
    this.life = new NodeLife(`${id}.1`, this.notes, options);
  }

  kill(): void {
    this.life.kill();
  }

  start(): void {
    this.#lives += 1;
    this.life = new NodeLife(`${this.#id}.${this.#lives}`, this.notes, this.#options);
  }
}
