import { create } from "@bufbuild/protobuf";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type Limit, type LimitStatus, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type WatchLeasesResponse, WatchLeasesResponseSchema } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { UsageRecord } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { createMemoryQuotaStore } from "../../services/quota/store-memory.ts";
import type { Ask } from "../../services/router/quota/desk.ts";
import type { Grant } from "../../services/router/quota/grant.ts";
import { PendingGrant } from "../../services/router/quota/pending-grant.ts";
import { QuotaHolder } from "../../services/router/quota/quota.ts";
import type { QuotaClient } from "../../services/router/quota/store-link.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../../services/runtime/errors/fail.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import type { Sink } from "../../services/runtime/mesh/push.ts";
import { storeClient } from "./quota-client.ts";
import { SimulatedClock } from "./simulated-clock.ts";

const principal = create(PrincipalSchema, { orgId: "o", projectId: "p", keyId: "k" });
const tokens = { inputTokens: 1, outputTokens: 1 };

/** Holders of leases of one store, as processes that are started, killed and started again. The store outlives them. */
export class LeaseHolders {
  readonly clock = new SimulatedClock();
  /** What was noted in the node's journal. */
  readonly notes: Buffer[] = [];
  /** Of what is reported to be given back: holder and lease. */
  readonly returned: string[] = [];
  /** Calls so far, by method. */
  readonly calls = { reserve: 0, lease: 0, extend: 0, settle: 0, release: 0, returnLease: 0 };
  /** Answers to calls of these methods wait for this. */
  readonly answers: Partial<Record<keyof LeaseHolders["calls"], Promise<void>>> = {};
  /** Calls of these methods do not arrive. */
  readonly lost = new Set<keyof LeaseHolders["calls"]>();
  /** The store can't be reached. */
  cut = false;
  /** It hears, and its answers are lost. */
  mute = false;
  #store = createMemoryQuotaStore({ clock: this.clock, ids: systemIds });
  #limits: readonly Limit[];
  #sink: Sink<WatchLeasesResponse> | undefined;

  constructor(limits: readonly Limit[]) {
    this.#limits = limits;
  }

  /**
   * Starts a process. The one before it is dead: it says nothing more.
   *
   * @param formerRequests what it may not have told of.
   */
  start(holderId: string, formerRequests: readonly UsageRecord[] = []): QuotaHolder {
    return new QuotaHolder({
      client: this.#client(),
      watch: (sink) => {
        this.#sink = sink;
        return () => undefined;
      },
      clock: this.clock,
      ids: systemIds,
      holderId,
      journal: {
        wait: (waiter) => {
          waiter.append();
          waiter.flushed();
        },
        note: (note) => this.notes.push(Buffer.from(note)) > 0,
        over: () => void (this.notes.length = 0),
      },
      notes: [...this.notes],
      formerRequests,
      news: { away: () => undefined, back: () => undefined, lost: () => undefined },
    });
  }

  /** The store's process starts anew: it knows nothing. Its watch is opened again. */
  async restartStore(): Promise<void> {
    this.replaceStore();
    await this.reopen();
  }

  /** The same, and the watch has not heard of it. */
  replaceStore(): void {
    this.#store = createMemoryQuotaStore({ clock: this.clock, ids: systemIds });
  }

  /** The watch breaks, and is opened again. */
  async reopen(): Promise<void> {
    this.#sink?.end();
    await this.pass(100);
  }

  /** The store's watch says something. */
  async beat(): Promise<void> {
    this.#sink?.event(create(WatchLeasesResponseSchema, { event: { case: "snapshotEnd", value: {} } }));
    await this.pass(100);
  }

  /** How full the limits are. */
  status(): Promise<readonly LimitStatus[]> {
    return this.#store.status(this.#limits);
  }

  /** Limits change, and the holder is told. */
  async change(limits: readonly Limit[]): Promise<void> {
    this.#limits = limits;
    for (const limit of limits) {
      this.#store.believe(limit);
      const { id, revision, spec } = limit;
      const value = { limitId: id, ...(spec?.subject ? { subject: spec.subject } : {}) };
      this.#sink?.event(create(WatchLeasesResponseSchema, { revision, event: { case: "limitChange", value } }));
    }
    await this.pass(20);
  }

  /** Others need what a holder has. */
  async recall(holderId: string): Promise<void> {
    for (const { id } of await this.#store.leasesOf(holderId)) {
      this.#sink?.event(create(WatchLeasesResponseSchema, { event: { case: "recall", value: { leaseId: id } } }));
    }
  }

  /** So many milliseconds pass, one after the other. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed++) {
      this.clock.advance(1);
      await turns(1);
    }
  }

  #client(): QuotaClient {
    const client = () => storeClient(this.#store, this.#limits);
    return {
      lease: this.#over("lease", (request) => client().lease(request)),
      reserve: this.#over("reserve", (request) => client().reserve(request)),
      extend: this.#over("extend", (request) => client().extend(request)),
      settle: this.#over("settle", (request) => client().settle(request)),
      release: this.#over("release", (request) => client().release(request)),
      returnLease: this.#over("returnLease", (request) => {
        this.returned.push(...(request.reports ?? []).map(({ leaseId }) => `${request.nodeId} ${leaseId}`));
        return client().returnLease(request);
      }),
    };
  }

  /** A call over a wire: its way there and back takes turns of the event loop. */
  #over<I, O>(method: keyof LeaseHolders["calls"], run: (request: I) => Promise<O>): (request: I) => Promise<O> {
    return async (request) => {
      this.calls[method] += 1;
      await turns(2);
      if (this.cut || this.lost.has(method)) throw fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "quota" });
      const answer = await run(request);
      await this.answers[method];
      await turns(2);
      if (this.mute) throw fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "quota" });
      return answer;
    };
  }
}

/** Lets what is on its way move on. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Asks for one request of a token and another, or as `wish` says; undefined: refused. */
export async function take(
  holder: QuotaHolder,
  model = "m",
  wish?: Partial<Pick<Ask, "expected" | "least">>,
): Promise<Grant | undefined> {
  const answer = await ask(holder, model, wish);
  return answer instanceof WeirError ? undefined : answer;
}

/**
 * The same, and why it was refused.
 *
 * @param given what the request does as soon as it hears that it may run.
 */
export function ask(
  holder: QuotaHolder,
  model = "m",
  wish: Partial<Pick<Ask, "expected" | "least">> = {},
  given: (grant: Grant) => void = () => undefined,
): Promise<Grant | WeirError> {
  const { promise, resolve } = Promise.withResolvers<Grant | WeirError>();
  const request = { requestId: systemIds.uuidv7(), principal, model, operation: Operation.GENERATE };
  const taken = holder.take(
    { ...request, expected: tokens, least: tokens, ...wish },
    {
      given: (grant) => {
        given(grant);
        resolve(grant);
      },
      denied: resolve,
    },
  );
  if (!(taken instanceof PendingGrant)) resolve(taken);
  return promise;
}

/** How many of so many requests are let through, one after the other, each of which ends at once. */
export async function admitted(
  holders: LeaseHolders,
  holder: QuotaHolder,
  asked: number,
  model?: string,
): Promise<number> {
  let count = 0;
  for (let at = 0; at < asked; at++) {
    const taking = take(holder, model).then((grant) => {
      grant?.settle(tokens);
      count += grant ? 1 : 0;
    });
    // The store lets a request that it has nothing for wait for 250 ms.
    await holders.pass(300);
    await taking;
  }
  return count;
}
