import type { Amounts } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { type Account, book } from "./account.ts";
import { reservedIn, usedSoFarIn } from "./costs.ts";
import type { Counter, StoreTime } from "./counter.ts";
import { type SliceSet, sliceSet } from "./slices.ts";

/** What a request holds of one limit. */
export type Share = Account;

/** What a request was given, from its grant to the last word on it. */
export interface Booking {
  readonly requestId: string;
  shares: readonly Share[];
  /** Running: it may draw. Expired: what it had told is booked. Settled: the truth is. Released: nothing is. */
  state: "running" | "expired" | "settled" | "released";
  /** The most that Extend told. */
  readonly told: Amounts;
  readonly slices: SliceSet;
  /** Which truth is booked; 0 for none. */
  sequence: bigint;
  outputTokensMax: bigint;
  touchedMs: number;
  /** When it ended, by the wall clock. */
  endedMs: number;
}

/** How many requests are remembered, and for how long. */
export interface BookingLives {
  /** How long a running one is kept without a word. */
  readonly ttlMs: number;
  readonly runningMax: number;
  readonly endedMs: number;
  readonly endedMax: number;
}

/**
 * The requests that run, and those that ended lately, so that what is said of them again changes nothing.
 *
 * Ended ones are forgotten in their order. What is settled under an id that is not known is taken for a request that
 * this store has not seen, and counted in full, unless its id (a UUIDv7) was made before something was forgotten: it may
 * be one of those, and is left out. Its usage record has the truth.
 */
export class BookingBook {
  readonly #time: StoreTime;
  readonly #lives: BookingLives;
  readonly #onChange: (counter: Counter) => void;
  /** The longest silent first. */
  readonly #running = new Map<string, Booking>();
  /** The longest ended first. */
  readonly #ended = new Map<string, Booking>();
  #forgottenMs = Number.NEGATIVE_INFINITY;
  // Before these moments nobody is due. Looking at a map's first entry costs as much as entries were deleted before it.
  #runningDueMs = Number.NEGATIVE_INFINITY;
  #endedDueMs = Number.NEGATIVE_INFINITY;

  /** @param onChange told of counters that something came back to. */
  constructor(time: StoreTime, lives: BookingLives, onChange: (counter: Counter) => void) {
    this.#time = time;
    this.#lives = lives;
    this.#onChange = onChange;
  }

  get running(): number {
    return this.#running.size;
  }

  get ended(): number {
    return this.#ended.size;
  }

  get isFull(): boolean {
    return this.#running.size >= this.#lives.runningMax;
  }

  get(requestId: string): Booking | undefined {
    return this.#running.get(requestId) ?? this.#ended.get(requestId);
  }

  /**
   * Whether what a request used has no booking to be counted on: it was never heard of, or was taken for one that would use
   * nothing. One that isn't known any more could be one that was forgotten.
   */
  isOpen(requestId: string): boolean {
    const booking = this.get(requestId);
    if (booking !== undefined) return booking.state === "released";
    const madeMs = madeAt(requestId);
    return madeMs === undefined || madeMs > this.#forgottenMs;
  }

  /** Begins one, or begins one anew that has expired or was released. */
  begin(requestId: string, shares: readonly Share[], outputTokensMax: bigint): Booking {
    const expired = this.#ended.get(requestId);
    this.#ended.delete(requestId);
    const booking: Booking = {
      requestId,
      shares,
      state: "running",
      told: expired?.told ?? nothing(),
      slices: expired?.slices ?? sliceSet(),
      sequence: 0n,
      outputTokensMax,
      touchedMs: this.#time.nowMs,
      endedMs: 0,
    };
    this.#running.set(requestId, booking);
    return booking;
  }

  touch(booking: Booking): void {
    if (booking.touchedMs === this.#time.nowMs) return;
    booking.touchedMs = this.#time.nowMs;
    this.#running.delete(booking.requestId);
    this.#running.set(booking.requestId, booking);
  }

  /** Ends one that keeps nothing, also before it was heard of: what asks for it comes too late. */
  release(requestId: string): void {
    const booking = this.#running.get(requestId) ?? this.begin(requestId, [], 0n);
    booking.shares = [];
    this.#end(booking, "released");
  }

  /** Ends one with the truth. */
  settle(booking: Booking, sequence: bigint): void {
    booking.sequence = sequence;
    if (booking.state !== "settled") this.#end(booking, "settled");
  }

  /** Ends what was silent for too long, and forgets what ended long ago. */
  expire(): void {
    if (this.#time.nowMs >= this.#runningDueMs) this.#expireSilent();
    if (this.#time.nowMs >= this.#endedDueMs || this.#ended.size > this.#lives.endedMax) this.#forgetOld();
  }

  #expireSilent(): void {
    this.#runningDueMs = this.#time.nowMs + this.#lives.ttlMs;
    for (const booking of this.#running.values()) {
      const dueMs = booking.touchedMs + this.#lives.ttlMs;
      if (this.#time.nowMs < dueMs) {
        this.#runningDueMs = dueMs;
        break;
      }
      for (const share of booking.shares) {
        share.counter.refresh();
        const used = usedSoFarIn(share.counter.limit, booking.told);
        book(share, used, used);
        this.#onChange(share.counter);
      }
      this.#end(booking, "expired");
    }
  }

  #forgetOld(): void {
    // One in sixteen at a time, so that few calls pay for it.
    const isOver = this.#ended.size > this.#lives.endedMax;
    const kept = isOver ? this.#lives.endedMax - Math.floor(this.#lives.endedMax / 16) : this.#lives.endedMax;
    this.#endedDueMs = this.#time.nowMs + this.#lives.endedMs;
    for (const booking of this.#ended.values()) {
      const dueMs = booking.touchedMs + this.#lives.endedMs;
      if (this.#time.nowMs < dueMs && this.#ended.size <= kept) {
        this.#endedDueMs = dueMs;
        break;
      }
      this.#ended.delete(booking.requestId);
      if (booking.endedMs > this.#forgottenMs) this.#forgottenMs = booking.endedMs;
    }
  }

  #end(booking: Booking, state: Exclude<Booking["state"], "running">): void {
    this.#running.delete(booking.requestId);
    this.#ended.delete(booking.requestId);
    booking.state = state;
    booking.touchedMs = this.#time.nowMs;
    booking.endedMs = this.#time.wallMs;
    this.#ended.set(booking.requestId, booking);
  }
}

/** Raises what a request has told, and books it. The counters are as of now. */
export function tell(booking: Booking, used: Amounts): void {
  const { told } = booking;
  if (used.inputTokens > told.inputTokens) told.inputTokens = used.inputTokens;
  if (used.outputTokens > told.outputTokens) told.outputTokens = used.outputTokens;
  if (used.costNanos > told.costNanos) told.costNanos = used.costNanos;
  if (used.currency !== "") told.currency = used.currency;
  for (const share of booking.shares) {
    book(share, share.past + share.amount, usedSoFarIn(share.counter.limit, told));
  }
}

/** What a share of a limit needs for a request. */
export interface Ask {
  readonly share: Share;
  /** In all, with what the share has already. */
  readonly units: bigint;
  /** What the request can't do without. */
  readonly least: bigint;
  /** What it is expected to use. */
  readonly estimate: bigint;
}

/** What a share asks for: what is expected, at most what the whole limit holds, at least what it can't do without. */
export function askOf(share: Share, estimate: Amounts, least: Amounts): Ask {
  const { limit, capacity } = share.counter;
  const leastUnits = reservedIn(limit, least);
  const estimated = reservedIn(limit, estimate);
  // Of a limit that allows none a part of nothing is too much, or whoever needs no more than nothing at least would pass.
  const most = capacity > 0n ? capacity : 1n;
  const clipped = estimated < most ? estimated : most;
  return {
    share,
    units: clipped > leastUnits ? clipped : leastUnits,
    least: leastUnits,
    estimate: estimated > leastUnits ? estimated : leastUnits,
  };
}

function nothing(): Amounts {
  return { $typeName: "weir.quota.v1.Amounts", inputTokens: 0n, outputTokens: 0n, costNanos: 0n, currency: "" };
}

/** The milliseconds in a UUIDv7. */
function madeAt(id: string): number | undefined {
  if (id[14] !== "7") return undefined;
  const madeMs = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  return Number.isNaN(madeMs) ? undefined : madeMs;
}
