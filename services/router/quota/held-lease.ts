import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Lease, LeaseReport } from "../../../gen/ts/weir/quota/v1/lease_pb.ts";

/** The share of what is there after a renewal, at and below which the next is due. */
const renewAtShare = 1 / 3;
/** A number that no process reaches: this report is newer than all before it. */
const lastSequence = 2n ** 53n;

/**
 * A lease as its holder spends it. Amounts are in the limit's unit, times in milliseconds on the holder's monotonic clock,
 * counted from when the call was sent that brought it: what the store knows ends later.
 *
 * It is **spendable** until its time is over; then what was reserved may still be spent. It is **retired** when nothing is
 * drawn from it any more: it is given back, another one took its place, or the store does not know it. It is told of until
 * the store has heard all of it: one that does not know it takes it up.
 */
export class HeldLease {
  readonly id: string;
  readonly limitId: string;
  amount = 0;
  spent = 0;
  reserved = 0;
  /** The version of the limit that it was lent by last. */
  revision = 0n;
  /** The limit is another by now, as far as is known: it is drawn from when it was renewed. */
  outdated = true;
  /** When the call was sent that brought it, and when its answer was there. */
  readonly askedMs: number;
  readonly heldMs: number;
  spendableUntilMs = 0;
  renewFromMs = 0;
  /** When the budget's period ends that it is a part of; undefined of other limits. */
  windowEnd: Timestamp | undefined;
  /** When it was told of last, unless that failed. */
  toldMs: number;
  /** `spent` and `reserved` as the store was told them last. */
  toldSpent = 0;
  toldReserved = 0;
  /** Of `spent`, what a store has heard for certain: of a report that was not answered nobody knows. */
  heard = 0;
  /** Reports of it that are on their way. */
  reporting = 0;
  /** It is not drawn from any more. */
  retired = false;
  /** Since when the store knows all of it, and nothing runs on it. */
  overMs: number | undefined;
  #sequence = 0;
  #renewAt = 0;

  constructor(id: string, limitId: string, askedMs: number, heldMs: number) {
    this.id = id;
    this.limitId = limitId;
    this.askedMs = askedMs;
    this.heldMs = heldMs;
    this.toldMs = askedMs;
  }

  /** What may still be drawn of it. */
  get credit(): number {
    return this.amount - this.spent - this.reserved;
  }

  /** Takes what the store says of it, in answer to a call sent at `sentMs`. */
  renewed(lease: Lease, sentMs: number): void {
    const spendableMs = msOf(lease.spendableFor);
    if (sentMs + spendableMs > this.spendableUntilMs) {
      this.spendableUntilMs = sentMs + spendableMs;
      this.renewFromMs = sentMs + spendableMs * (1 - renewAtShare);
    }
    // A report that was sent meanwhile named the amount as it was known then, and holds the store to that.
    if (Number(lease.reportSequence) < this.#sequence) return;
    this.amount = Math.max(this.amount, Number(lease.amount));
    this.#renewAt = Math.max(0, this.credit * renewAtShare);
  }

  /** Whether more of it, or more time, is to be asked for. */
  renewalDue(nowMs: number): boolean {
    return nowMs >= this.renewFromMs || this.credit <= this.#renewAt;
  }

  /** Sets something aside. False: it has not that much, or its time is over. */
  draw(amount: number, nowMs: number): boolean {
    if (nowMs >= this.spendableUntilMs || this.credit < amount) return false;
    this.reserved += amount;
    return true;
  }

  /** Sets aside what nobody could be asked for: it may be more than there is. */
  overdraw(amount: number): void {
    this.reserved += amount;
  }

  /** What was set aside is replaced by what was used. */
  settle(reserved: number, used: number): void {
    this.reserved -= reserved;
    this.spent += used;
  }

  /** What the store has not been told. */
  get untold(): boolean {
    return this.spent !== this.toldSpent || this.reserved !== this.toldReserved;
  }

  /**
   * Tells how it stands.
   *
   * @param givesUp what is not reserved is given back.
   */
  report(givesUp: boolean, nowMs: number): LeaseReport {
    this.#sequence += 1;
    if (givesUp && this.credit > 0) this.amount = this.spent + this.reserved;
    this.toldMs = nowMs;
    this.toldSpent = this.spent;
    this.toldReserved = this.reserved;
    const report: LeaseReport = {
      $typeName: "weir.quota.v1.LeaseReport",
      leaseId: this.id,
      spent: BigInt(Math.round(this.spent)),
      reserved: BigInt(Math.max(0, Math.round(this.reserved))),
      amount: BigInt(Math.max(0, Math.round(this.amount))),
      sequence: BigInt(this.#sequence),
      returned: this.retired,
      limitId: this.limitId,
      heard: BigInt(Math.round(this.heard)),
    };
    if (this.windowEnd) report.windowEnd = this.windowEnd;
    return report;
  }

  /** A report was answered. They may be answered in another order than they were sent in. */
  answered({ spent }: LeaseReport): void {
    this.heard = Math.max(this.heard, Number(spent));
  }

  /** It is to be told again: a report failed, or the store does not know it. */
  tellAgain(): void {
    this.toldSpent = Number.NaN;
    this.toldMs = Number.NEGATIVE_INFINITY;
  }
}

/** The last word on a lease: so much was spent of it, and nothing runs on it. */
export function lastReport(leaseId: string, spent: bigint): LeaseReport {
  return {
    $typeName: "weir.quota.v1.LeaseReport",
    leaseId,
    spent,
    reserved: 0n,
    amount: spent,
    sequence: lastSequence,
    returned: true,
    limitId: "",
    heard: 0n,
  };
}

/** A duration of the contract in milliseconds. */
export function msOf(duration: { readonly seconds: bigint; readonly nanos: number } | undefined): number {
  return duration ? Number(duration.seconds) * 1_000 + duration.nanos / 1e6 : 0;
}
