import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Lease } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import type { Limit, LimitStatus } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type {
  ExtendRequest,
  ExtendResponse,
  LeaseRequest,
  LeaseResponse,
  ReleaseRequest,
  ReserveRequest,
  ReserveResponse,
  ReturnLeaseRequest,
  SettleRequest,
  SettleResponse,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { IdSource } from "../runtime/ids.ts";
import { book, leaveBehind, openAccount } from "./account.ts";
import { Admission, type Blocked } from "./admission.ts";
import {
  denialMessage,
  durationMessage,
  leaseMessage,
  type ReturnTimes,
  reservationMessage,
  shareMessages,
  statusMessage,
} from "./answers.ts";
import { extendAttempt, type Outcome, reserveAttempt } from "./attempts.ts";
import { counts, countsRequests, meteredIn, usedIn } from "./costs.ts";
import type { Counter, StoreTime } from "./counter.ts";
import { CounterBook } from "./counter-book.ts";
import { leaseCredit } from "./demand.ts";
import { type LeaseAccount, LeaseBook } from "./leases.ts";
import { type MemoryQuotaBounds, memoryQuotaBounds } from "./memory-bounds.ts";
import { type Ask, askOf, BookingBook, type Share, tell } from "./reservations.ts";
import type { QuotaStore, RecallListener } from "./store.ts";

/** How the memory store is built. */
export interface MemoryQuotaStoreOptions {
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly bounds?: Partial<MemoryQuotaBounds>;
}

/** How long a node's list of limits holds: a lease's life. */
const listMs = 15_000;
/** A retry comes within the deadline of the call before it: 2 s. */
const leaseRequestsMs = 60_000;
const leaseRequestsMax = 65_536;

/** Counts in memory. A process that starts anew starts its windows anew: what they had counted is gone. */
export function createMemoryQuotaStore(options: MemoryQuotaStoreOptions): QuotaStore {
  return new MemoryQuotaStore(options);
}

interface WaitingReserve {
  readonly answer: Promise<ReserveResponse>;
  cancel: () => void;
}

class MemoryQuotaStore implements QuotaStore {
  readonly id: string;
  readonly #clock: Clock;
  readonly #bounds: MemoryQuotaBounds;
  readonly #returns: ReturnTimes;
  readonly #time: StoreTime;
  readonly #counters: CounterBook;
  readonly #bookings: BookingBook;
  readonly #leases: LeaseBook;
  readonly #admission: Admission;
  readonly #listeners = new Set<RecallListener>();
  readonly #reserves = new Map<string, WaitingReserve>();
  /** Lease calls that were answered, and when: the oldest first. */
  readonly #leaseRequests = new Map<string, number>();

  constructor({ clock, ids, bounds }: MemoryQuotaStoreOptions) {
    this.id = ids.uuidv7();
    this.#clock = clock;
    this.#bounds = { ...memoryQuotaBounds, ...bounds };
    const { ttlMs, suspendedMs, recallMs, leasesMax, waitersMax, endedMs: goneMs } = this.#bounds;
    this.#returns = { reservationMs: ttlMs, leaseMs: ttlMs + suspendedMs };
    this.#time = { nowMs: Math.floor(clock.monotonicMs()), wallMs: Math.floor(clock.nowMs()) };
    const wake = (counter: Counter) => this.#admission.wake(counter);
    this.#counters = new CounterBook(this.#time, (counter) => {
      this.#leases.forget(counter);
      wake(counter);
    });
    this.#bookings = new BookingBook(this.#time, this.#bounds, wake);
    const lives = { ttlMs, suspendedMs, goneMs, goneMax: leasesMax, leasesMax };
    const askBack = (lease: LeaseAccount) => this.#admission.askBack(lease);
    this.#leases = new LeaseBook(this.#time, () => ids.uuidv7(), lives, wake, askBack);
    this.#admission = new Admission({
      clock,
      time: this.#time,
      leases: this.#leases,
      recallMs,
      waitersMax,
      tick: () => this.#tick(),
      recall: (lease) => this.#recall(lease),
    });
  }

  reserve(limits: readonly Limit[], request: ReserveRequest, reported = limits): Promise<ReserveResponse> {
    return this.#do(() => {
      this.#takeReports(request, reported);
      const known = this.#bookings.get(request.requestId);
      // A copy of the call that was on its way for longer than its caller waited.
      if (known?.state === "released") throw fail(ErrorReason.NOT_FOUND, reservation(request.requestId));
      if (known !== undefined && known.state !== "expired") {
        for (const share of known.shares) share.counter.refresh();
        return Promise.resolve(this.#reserveResponse({ granted: known }));
      }
      const waiting = this.#reserves.get(request.requestId);
      if (waiting !== undefined) return waiting.answer;
      if (this.#bookings.isFull) throw fail(ErrorReason.STORE_UNAVAILABLE, {}, { retryAfterMs: 1_000 });
      const asks = this.#asksOf(limits, request, known?.shares ?? []);
      return this.#admitReserve(request, asks);
    });
  }

  async extend(request: ExtendRequest): Promise<ExtendResponse> {
    const outcome = await this.#do(() => {
      const booking = this.#bookings.get(request.requestId);
      if (booking?.state !== "running") return Promise.resolve<Outcome>("ended");
      this.#bookings.touch(booking);
      for (const share of booking.shares) share.counter.refresh();
      if (request.used) tell(booking, request.used);
      return this.#admission.admit(extendAttempt(booking, request, this.#explain));
    });
    if (outcome === "ended") {
      throw fail(ErrorReason.NOT_FOUND, reservation(request.requestId));
    }
    return { $typeName: "weir.quota.v1.ExtendResponse", outcome: this.#outcomeMember(outcome) };
  }

  settle(limits: readonly Limit[], request: SettleRequest): Promise<SettleResponse> {
    return this.#do(() => {
      const { used, sequence } = request;
      this.#reserves.get(request.requestId)?.cancel();
      const leased = request.leasedLimitIds.length > 0 ? new Set(request.leasedLimitIds) : undefined;
      let booking = this.#bookings.get(request.requestId);
      if (!request.reservedOnly && this.#bookings.isOpen(request.requestId)) {
        const shares: Share[] = [];
        for (const limit of limits) {
          if (leased?.has(limit.id) || (used && !counts(limit, used))) continue;
          shares.push(openAccount(this.#counters.see(limit), "share", {}));
        }
        booking = this.#bookings.begin(request.requestId, shares, 0n);
      }
      for (const share of booking?.shares ?? []) {
        const { counter } = share;
        counter.refresh();
        if (booking === undefined || sequence <= booking.sequence) continue;
        for (const { limitId, amount, end } of request.periods) {
          if (limitId === counter.limit.id && end && counter.hasEnded(timestampMs(end))) leaveBehind(share, amount);
        }
        const units = used && !leased?.has(counter.limit.id) ? usedIn(counter.limit, used) : 0n;
        book(share, units, units);
        counter.demand.observe(units, this.#time.nowMs);
        this.#admission.wake(counter);
      }
      if (booking !== undefined && sequence > booking.sequence) this.#bookings.settle(booking, sequence);
      return Promise.resolve({
        $typeName: "weir.quota.v1.SettleResponse",
        shares: shareMessages(booking?.shares ?? []),
      });
    });
  }

  release(request: ReleaseRequest): Promise<void> {
    return this.#do(() => {
      this.#reserves.get(request.requestId)?.cancel();
      const booking = this.#bookings.get(request.requestId);
      if (booking?.state === "settled" || booking?.state === "released") return Promise.resolve();
      for (const share of booking?.shares ?? []) {
        share.counter.refresh();
        book(share, 0n, 0n);
        this.#admission.wake(share.counter);
      }
      this.#bookings.release(request.requestId);
      return Promise.resolve();
    });
  }

  lease(limits: readonly Limit[], request: LeaseRequest, reported = limits): Promise<LeaseResponse> {
    return this.#do(() => {
      this.#takeReports(request, reported);
      const again = this.#leaseRequests.has(request.requestId);
      const leases: Lease[] = [];
      const central: Limit[] = [];
      let holders = 1;
      for (const limit of limits) {
        if (request.wanted && !counts(limit, request.wanted)) continue;
        const counter = this.#counters.see(limit);
        counter.demand.hear(request.nodeId, this.#time.nowMs);
        holders = Math.max(holders, counter.demand.holders(this.#time.nowMs));
        const lease = this.#lend(counter, request, again);
        if (lease === undefined) central.push(counter.limit);
        else leases.push(leaseMessage(lease, this.#bounds.ttlMs));
      }
      if (!again) this.#leaseRequests.set(request.requestId, this.#time.nowMs);
      return Promise.resolve({
        $typeName: "weir.quota.v1.LeaseResponse",
        leases,
        central,
        holders,
        ttl: durationMessage(listMs),
        elsewhere: [],
      });
    });
  }

  returnLease(reported: readonly Limit[], request: ReturnLeaseRequest): Promise<void> {
    return this.#do(async () => this.#takeReports(request, reported));
  }

  leasesOf(nodeId: string): Promise<readonly Lease[]> {
    return this.#do(() => {
      const leases = this.#leases.of(nodeId);
      for (const lease of leases) {
        lease.counter.refresh();
        // The watch that it was recalled by has ended, perhaps unheard: it may be recalled anew.
        lease.recalledMs = undefined;
      }
      this.#leases.askBackFrom(nodeId);
      return Promise.resolve(leases.map((lease) => leaseMessage(lease, this.#bounds.ttlMs)));
    });
  }

  onRecall(listener: RecallListener): () => void {
    // The same function may listen twice.
    const own: RecallListener = (nodeId, recall) => listener(nodeId, recall);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  status(limits: readonly Limit[]): Promise<readonly LimitStatus[]> {
    return this.#do(() => {
      const counters = limits.map((limit) => this.#counters.see(limit, false));
      return Promise.resolve(counters.map(statusMessage));
    });
  }

  believe(limit: Limit): void {
    this.#tick();
    const counter = this.#counters.believe(limit);
    if (counter === undefined) return;
    this.#admission.wake(counter);
    this.#admission.serve();
  }

  forget(limitId: string): void {
    this.#tick();
    this.#counters.forget(limitId);
    this.#admission.serve();
  }

  /** Runs a call at one moment of the store's time; then those are served for whom it made room. */
  async #do<T>(call: () => Promise<T>): Promise<T> {
    let answer: Promise<T>;
    try {
      this.#tick();
      answer = call();
    } finally {
      this.#admission.serve();
    }
    return answer;
  }

  #tick(): void {
    const nowMs = Math.floor(this.#clock.monotonicMs());
    this.#time.wallMs = Math.floor(this.#clock.nowMs());
    // Most calls come within the millisecond of one before them.
    if (nowMs > this.#time.nowMs) {
      this.#time.nowMs = nowMs;
      this.#leases.expire();
      for (const [requestId, atMs] of this.#leaseRequests) {
        if (nowMs - atMs < leaseRequestsMs && this.#leaseRequests.size <= leaseRequestsMax) break;
        this.#leaseRequests.delete(requestId);
      }
    }
    this.#bookings.expire();
    this.#admission.serve();
  }

  #asksOf(limits: readonly Limit[], request: ReserveRequest, known: readonly Share[]): Ask[] {
    const { estimate, least, leasedLimitIds, nodeId } = request;
    if (estimate === undefined || least === undefined) throw new Error("a request without amounts is not valid");
    const asks: Ask[] = [];
    for (const limit of limits) {
      if (leasedLimitIds.includes(limit.id) || !counts(limit, estimate)) continue;
      const counter = this.#counters.see(limit);
      const share = known.find((one) => one.counter === counter) ?? openAccount(counter, "share", {});
      const ask = askOf(share, estimate, least);
      counter.demand.hear(nodeId, this.#time.nowMs);
      if (ask.units <= counter.capacity) counter.demand.observe(ask.units, this.#time.nowMs);
      asks.push(ask);
    }
    return asks;
  }

  #admitReserve(request: ReserveRequest, asks: readonly Ask[]): Promise<ReserveResponse> {
    const wait = request.waitMax;
    const waitMaxMs = wait === undefined ? 0 : Number(wait.seconds) * 1_000 + Math.floor(wait.nanos / 1_000_000);
    let cancel: (() => void) | undefined;
    const outcome = this.#admission.admit(
      reserveAttempt(this.#bookings, request, asks, waitMaxMs, this.#explain),
      (waiter) => {
        cancel = waiter.cancel;
      },
    );
    const answer = outcome.then((settled) => {
      this.#reserves.delete(request.requestId);
      return this.#reserveResponse(settled);
    });
    if (cancel !== undefined) this.#reserves.set(request.requestId, { answer, cancel });
    return answer;
  }

  #lend(counter: Counter, request: LeaseRequest, again: boolean): LeaseAccount | undefined {
    const { nowMs } = this.#time;
    const own = this.#leases.find(counter, request.nodeId);
    if (again) {
      if (own !== undefined) this.#leases.lend(own, 0n);
      return own;
    }
    const { requestsWanted } = request;
    let wanted = requestsWanted;
    if (!countsRequests(counter.limit)) {
      wanted = request.wanted ? meteredIn(counter.limit, request.wanted) : 0n;
      counter.demand.observe((wanted + requestsWanted - 1n) / (requestsWanted || 1n), nowMs);
    }
    const largest = counter.demand.largest(nowMs);
    const credit = own === undefined ? 0n : this.#leases.creditOf(own);
    const part = leaseCredit(
      counter.remaining + credit,
      wanted > largest ? wanted : largest,
      largest,
      counter.demand.holders(nowMs),
    );
    // What a lowered limit or a debt takes away is not renewed: the node gives it up when it asks for a request.
    if (part === 0n || (credit > part && counter.remaining < 0n)) return undefined;
    const lease = own ?? this.#leases.open(counter, request.nodeId);
    if (lease !== undefined) this.#leases.lend(lease, part - credit);
    return lease;
  }

  #takeReports({ nodeId, reports }: Pick<ReturnLeaseRequest, "nodeId" | "reports">, limits: readonly Limit[]): void {
    for (const report of reports) {
      this.#leases.report(nodeId, report, (limitId) => {
        const limit = limits.find(({ id }) => id === limitId);
        return limit ? this.#counters.see(limit) : this.#counters.get(limitId);
      });
    }
  }

  #recall(lease: LeaseAccount): void {
    for (const listener of this.#listeners) {
      listener(lease.nodeId, {
        $typeName: "weir.quota.v1.LeaseRecall",
        leaseId: lease.id,
        within: durationMessage(this.#bounds.recallMs),
      });
    }
  }

  readonly #explain = (blocked: readonly Blocked[]) => denialMessage(blocked, this.#returns);

  #reserveResponse(outcome: Outcome): ReserveResponse {
    if (outcome === "ended") throw new Error("a request that reserves has not ended");
    return { $typeName: "weir.quota.v1.ReserveResponse", outcome: this.#outcomeMember(outcome) };
  }

  #outcomeMember(outcome: Exclude<Outcome, "ended">) {
    return "denied" in outcome
      ? { case: "denied" as const, value: outcome.denied }
      : { case: "granted" as const, value: reservationMessage(outcome.granted, this.#bounds.ttlMs) };
  }
}

function reservation(id: string) {
  return { resource: "reservation", id };
}
