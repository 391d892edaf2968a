import type { Limit } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { periodAt } from "./calendar.ts";
import { Demand } from "./demand.ts";

/** The store's time, in whole milliseconds. */
export interface StoreTime {
  /** Of a clock that never goes back: for rates and lives. */
  nowMs: number;
  /** Since the epoch: for the calendar. */
  wallMs: number;
}

/** What a counter's holders still hold unspent. */
interface Outstanding {
  share: bigint;
  lease: bigint;
}

type Kind = "rate" | "budget" | "slots";

const nanosPerMs = 1_000_000n;

export function kindOf(limit: Limit): Kind {
  return limit.spec?.window.case ?? "slots";
}

/**
 * What a limit has counted. `drawn` is all that is gone: settled, reserved and leased. Of slots it only changes as
 * requests come and go. A budget's begins at 0 with each period of the calendar. A rate's drains all the time, the
 * ceiling in each `per`, down to 0: a bucket seen from above.
 *
 * A rate's `drawn` is kept in parts of the unit, as many as `per` has nanoseconds, so that draining by whole
 * milliseconds never rounds. Everything is a bigint: money alone may exceed 2^53.
 *
 * The wall clock may jump. A budget's period ends when the clock says so and does not come back: if the clock goes back
 * before it, the period goes on, its counts with it. If it goes back by more than a period, it had been wrong: the
 * period is the one that it tells now, and the counts stay.
 */
export class Counter {
  readonly kind: Kind;
  /** How many periods have begun; draws of an earlier one are no concern of this one. */
  window = 0;
  /** What shares and leases hold beyond what is known to be spent. */
  readonly outstanding: Outstanding = { share: 0n, lease: 0n };
  /** Who draws from it. */
  readonly demand = new Demand();
  /** It was forgotten: it refuses nobody. */
  gone = false;
  /** The most that may be drawn: the ceiling, or a rate's burst. */
  capacity = 0n;
  /** Versions of the limit up to this one are known: one that is shown late changes nothing. */
  revision: bigint;
  readonly #time: StoreTime;
  #limit: Limit;
  #ceiling = 0n;
  #scale = 1n;
  #drawn = 0n;
  #drainedMs: number;
  #startMs = 0;
  #endMs = 0;

  /** @throws RangeError if a budget's time zone is none. */
  constructor(limit: Limit, time: StoreTime) {
    this.kind = kindOf(limit);
    this.#time = time;
    this.#limit = limit;
    this.revision = limit.revision;
    this.#drainedMs = time.nowMs;
    this.#measure();
    if (this.kind === "budget") this.#begin();
  }

  get limit(): Limit {
    return this.#limit;
  }

  /**
   * Takes over a newer version of the limit. What is drawn stays drawn; another period of a budget holds when this one is
   * over.
   *
   * @throws RangeError if a budget's time zone is none: the former version stays.
   */
  see(limit: Limit): void {
    if (limit.revision <= this.revision) return;
    const window = limit.spec?.window;
    if (window?.case === "budget") periodAt(window.value.period, window.value.timeZone, this.#time.wallMs);
    this.refresh();
    this.#limit = limit;
    this.revision = limit.revision;
    const scale = this.#scale;
    this.#measure();
    if (scale !== this.#scale) this.#drawn = ceilDivided(this.#drawn * this.#scale, scale);
  }

  /** Brings it up to the store's time. Everything below is as of the last refresh. */
  refresh(): void {
    if (this.kind === "rate") this.#drain();
    else if (this.kind === "budget") this.#turn();
  }

  /** Draws, or gives back what is below 0; a bucket that is full takes nothing back. */
  draw(units: bigint): void {
    this.#drawn += units * this.#scale;
    if (this.#drawn < 0n) this.#drawn = 0n;
  }

  fits(units: bigint): boolean {
    return this.#drawn + units * this.#scale <= this.capacity * this.#scale;
  }

  /** How much could be drawn; below 0 is debt. */
  get remaining(): bigint {
    return this.capacity - ceilDivided(this.#drawn, this.#scale);
  }

  /** What is known to be spent, as far as it has not drained. */
  get used(): bigint {
    const used = ceilDivided(this.#drawn, this.#scale) - this.outstanding.share - this.outstanding.lease;
    return used > 0n ? used : 0n;
  }

  /**
   * How long until `units` fit if nobody else draws and `returned` of what is drawn comes back meanwhile, in
   * milliseconds; Infinity if that never is.
   */
  waitMs(units: bigint, returned = 0n): number {
    if (units > this.capacity) return Number.POSITIVE_INFINITY;
    let drawn = this.#drawn - returned * this.#scale;
    if (drawn < 0n) drawn = 0n;
    const excess = drawn + units * this.#scale - this.capacity * this.#scale;
    if (excess <= 0n) return 0;
    if (this.kind === "rate") return Number(ceilDivided(excess, this.#ceiling * nanosPerMs));
    return this.kind === "budget" ? this.windowEndsInMs : Number.POSITIVE_INFINITY;
  }

  /** How long a budget's period still lasts; of others Infinity. */
  get windowEndsInMs(): number {
    return this.kind === "budget" ? this.#endMs - this.#time.wallMs : Number.POSITIVE_INFINITY;
  }

  /** Whether a budget's period that ends then, milliseconds since the epoch, is over; of others none ever is. */
  hasEnded(endMs: number): boolean {
    return this.kind === "budget" && endMs <= this.#startMs;
  }

  /** When it is full again or begins anew, milliseconds since the epoch; undefined of slots. */
  get resetMs(): number | undefined {
    if (this.kind === "budget") return this.#endMs;
    if (this.kind === "slots") return undefined;
    if (this.#drawn === 0n || this.#ceiling === 0n) return this.#time.wallMs;
    return this.#time.wallMs + Number(ceilDivided(this.#drawn, this.#ceiling * nanosPerMs));
  }

  #measure(): void {
    const spec = this.#limit.spec;
    this.#ceiling = BigInt(spec?.ceiling.value ?? 0n);
    this.capacity = this.#ceiling;
    if (spec?.window.case !== "rate") return;
    const { per, burst } = spec.window.value;
    this.#scale = (per?.seconds ?? 0n) * 1_000_000_000n + BigInt(per?.nanos ?? 0) || 1n;
    if (burst > 0n && this.#ceiling > 0n) this.capacity = burst;
  }

  #drain(): void {
    const passedMs = this.#time.nowMs - this.#drainedMs;
    if (passedMs <= 0) return;
    this.#drainedMs = this.#time.nowMs;
    if (this.#drawn === 0n) return;
    this.#drawn -= this.#ceiling * BigInt(passedMs) * nanosPerMs;
    if (this.#drawn < 0n) this.#drawn = 0n;
  }

  #turn(): void {
    const { wallMs } = this.#time;
    if (wallMs >= this.#endMs) {
      this.#begin();
      this.window += 1;
      this.#drawn = 0n;
      this.outstanding.share = 0n;
      this.outstanding.lease = 0n;
    } else if (wallMs < this.#startMs - (this.#endMs - this.#startMs)) {
      this.#begin();
    }
  }

  #begin(): void {
    const window = this.#limit.spec?.window;
    if (window?.case !== "budget") return;
    const { startMs, endMs } = periodAt(window.value.period, window.value.timeZone, this.#time.wallMs);
    this.#startMs = startMs;
    this.#endMs = endMs;
  }
}

/** Rounded up; `by` is above 0. */
function ceilDivided(value: bigint, by: bigint): bigint {
  if (by === 1n || value === 0n) return value;
  const quotient = value / by;
  return value > 0n && quotient * by !== value ? quotient + 1n : quotient;
}
