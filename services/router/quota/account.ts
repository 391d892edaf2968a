import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Lease } from "../../../gen/ts/weir/quota/v1/lease_pb.ts";
import { type Limit, OnFailure } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { PeriodShare, ReservedShare } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { HeldLease, msOf } from "./held-lease.ts";
import { LocalShare } from "./local-share.ts";
import { type Terms, termsOf } from "./terms.ts";

/** A day, when the clocks are put forward. */
const shortestPeriodMs = 23 * 3_600_000;

/** What this node has of one limit, for all consumers whom the limit counts. */
export class Account {
  terms: Terms;
  /** The lease that is drawn from. */
  lease: HeldLease | undefined;
  /** Leases before it, for as long as something runs on them or the store has not heard their end. They are retired. */
  readonly former = new Set<HeldLease>();
  /** The store shares none of it: every request asks. */
  central = false;
  /** Nodes that have or want a part of it. */
  holders = 1;
  /** When something was drawn or asked for last. */
  usedMs: number;
  /** What others have of it, as far as it was told last. */
  #remaining = 0;
  #fullAtMs = 0;
  /** The same by the store's clock, as it was told last. */
  #resetTime: Timestamp | undefined;
  /** The change that was told of last, and when that was. */
  #changed: { readonly revision: bigint; readonly atMs: number };
  /** When the call was sent that brought `terms`. */
  #askedMs = Number.NEGATIVE_INFINITY;
  #share: LocalShare | undefined;

  /** @param changedMs when a change of any limit was told of last: it may have been of this one. */
  constructor(limit: Limit, nowMs: number, changedMs = Number.NEGATIVE_INFINITY) {
    this.terms = termsOf(limit);
    this.usedMs = nowMs;
    this.#changed = { revision: 0n, atMs: changedMs };
  }

  get id(): string {
    return this.terms.limit.id;
  }

  /** Whether nothing hangs on it: another one in its place would have a share of its own, of which nothing is drawn. */
  isEmpty(nowMs: number): boolean {
    if (this.lease !== undefined || this.former.size > 0) return false;
    const isOver = this.terms.budget && this.#fullAtMs > 0 && nowMs >= this.#fullAtMs;
    return this.#share === undefined || isOver || this.#share.isWhole(nowMs);
  }

  /** Sets something aside from the lease; undefined: there is none that has it. */
  draw(amount: number, nowMs: number): HeldLease | undefined {
    const { lease } = this;
    this.usedMs = nowMs;
    if (lease === undefined || lease.outdated || !lease.draw(amount, nowMs)) return undefined;
    return lease;
  }

  /** Whether more of the lease is to be asked for. */
  renewalDue(nowMs: number): boolean {
    const { lease } = this;
    if (lease === undefined) return !this.central;
    return (lease.outdated || lease.renewalDue(nowMs)) && !(this.central && lease.credit <= 0);
  }

  /**
   * Whether a request may run although nobody can be asked, and what its share then is.
   *
   * @param nodes that are there; those that hold or asked for a part of this limit may be more, or know of each other less.
   */
  unchecked(amount: number, nodes: number, nowMs: number): LocalShare | "open" | undefined {
    if (!this.terms.enforced || this.terms.onFailure === OnFailure.OPEN) return "open";
    if (this.terms.onFailure !== OnFailure.LOCAL) return undefined;
    this.#share ??= new LocalShare(this.terms, nowMs);
    this.#share.holders = Math.max(1, this.holders, nodes);
    return this.#share.draw(amount, nowMs) ? this.#share : undefined;
  }

  /** The limit as a call brought it that was sent at `sentMs`; what an older call brings late says nothing. */
  learn(limit: Limit, sentMs: number): void {
    if (sentMs < this.#askedMs || !this.#isCurrent(limit.revision, sentMs)) return;
    this.#askedMs = sentMs;
    if (limit.revision !== this.terms.limit.revision) this.#share = undefined;
    this.terms = termsOf(limit);
  }

  /** A lease that was made or renewed, by a call that was sent at `sentMs`. */
  leased(lease: Lease, sentMs: number, nowMs: number, nowWallMs: number): void {
    this.central = false;
    this.#told(lease, nowMs, nowWallMs);
    for (const one of this.former) if (one.id === lease.id) return;
    if (this.lease?.id !== lease.id) {
      this.retire();
      this.lease = new HeldLease(lease.id, this.id, sentMs, nowMs);
      if (this.terms.budget) this.lease.windowEnd = lease.resetTime;
    }
    this.lease?.renewed(lease, sentMs);
    if (!this.lease || !this.#isCurrent(lease.limitRevision, sentMs)) return;
    this.lease.revision = lease.limitRevision;
    this.lease.outdated = false;
  }

  /** What a central reservation told of it. */
  shared(share: ReservedShare, nowMs: number, nowWallMs: number): void {
    this.#told(share, nowMs, nowWallMs);
  }

  /** What is set aside of a budget in the period that ends then; of other limits undefined. */
  inPeriod(amount: number, end = this.#resetTime): PeriodShare | undefined {
    if (!this.terms.budget || end === undefined) return undefined;
    return { $typeName: "weir.quota.v1.PeriodShare", limitId: this.id, amount: BigInt(Math.round(amount)), end };
  }

  /** A change was told of: what is of another version is not to be spent any more. */
  changed(revision: bigint, nowMs: number): void {
    this.#changed = { revision, atMs: nowMs };
    if (this.lease && this.lease.revision !== revision) this.lease.outdated = true;
  }

  /** The store does not know the lease, or no more: what runs on it is told of anew, or others are let into its place. */
  lost(lease: HeldLease): void {
    if (this.lease === lease) this.retire();
    if (lease.reserved > 0) lease.tellAgain();
  }

  /** The lease is over: it is reported until the store knows all of it. */
  retire(): void {
    if (this.lease) {
      this.lease.retired = true;
      this.former.add(this.lease);
    }
    this.lease = undefined;
  }

  /** All leases that something is to be told of. */
  *leases(): Generator<HeldLease> {
    if (this.lease) yield this.lease;
    yield* this.former;
  }

  /** Those that the store has to hear of before it gives out more of the limit. */
  *due(): Generator<HeldLease> {
    if (this.lease) yield this.lease;
    for (const former of this.former) if (former.untold) yield former;
  }

  /** What may still be reserved of it, as far as this node knows. */
  get remaining(): number {
    return Math.max(0, Math.floor(this.#remaining + (this.lease?.credit ?? 0)));
  }

  /** How long until it is full or begins anew, in milliseconds. */
  fullAfterMs(nowMs: number): number {
    return Math.max(0, this.#fullAtMs - nowMs);
  }

  /**
   * Whether a version that a call brought is what the limit is by now, as far as that is known. A higher revision need not
   * be newer, for limits may be restored from an older copy; and answers may overtake changes, and each other. So it is the
   * version that was told of last, or that of a call that was sent after it.
   */
  #isCurrent(revision: bigint, sentMs: number): boolean {
    return revision === this.#changed.revision || sentMs > this.#changed.atMs;
  }

  #told({ remaining, resetTime }: Lease | ReservedShare, nowMs: number, nowWallMs: number): void {
    const fullAtMs = nowMs + until(resetTime, nowWallMs);
    // A budget begins anew, and with it this node's share.
    if (this.terms.budget && fullAtMs - this.#fullAtMs > shortestPeriodMs / 2) this.#share = undefined;
    this.#remaining = Number(remaining);
    this.#fullAtMs = fullAtMs;
    this.#resetTime = resetTime;
  }
}

function until(time: { readonly seconds: bigint; readonly nanos: number } | undefined, nowWallMs: number): number {
  return time ? Math.max(0, msOf(time) - nowWallMs) : 0;
}
