import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import type { Lease } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import { Dimension, type LimitStatus } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Denial, Reservation, ReservedShare } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { DenialReason } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { type Account, heldBy } from "./account.ts";
import type { Blocked } from "./admission.ts";
import type { Counter } from "./counter.ts";
import type { LeaseAccount } from "./leases.ts";
import type { Booking } from "./reservations.ts";

/*
 * Messages are written out as literals: `create` costs more than all the counting. Counters are as of now.
 */

/** How long what is held may take to come back, in milliseconds. */
export interface ReturnTimes {
  readonly reservationMs: number;
  readonly leaseMs: number;
}

// A slot may be free any moment: nobody knows when. A second is what a caller's library waits anyway.
const slotRetryMs = 1_000;
const int64Max = 2n ** 63n - 1n;
/** The latest moment that a Timestamp may name. */
const timestampMaxMs = Date.UTC(9999, 11, 31);

/** The longest time that a Duration may name. */
const durationMaxMs = 315_576_000_000_000;

/** How a reservation stands. */
export function reservationMessage(booking: Booking, ttlMs: number): Reservation {
  return {
    $typeName: "weir.quota.v1.Reservation",
    requestId: booking.requestId,
    shares: shareMessages(booking.shares),
    ttl: durationMessage(ttlMs),
    outputTokensMax: booking.outputTokensMax,
  };
}

/** What each limit set aside or has counted, without those that are no more. */
export function shareMessages(shares: readonly Account[]): ReservedShare[] {
  const messages: ReservedShare[] = [];
  for (const share of shares) if (!share.counter.gone) messages.push(shareMessage(share));
  return messages;
}

function shareMessage(share: Account): ReservedShare {
  const { counter } = share;
  const message: ReservedShare = {
    $typeName: "weir.quota.v1.ReservedShare",
    limitId: counter.limit.id,
    amount: int64(heldBy(share)),
    remaining: int64(counter.remaining),
    ceiling: counter.capacity,
    dimension: dimensionOf(counter),
  };
  const resetTime = resetTimeOf(counter);
  if (resetTime !== undefined) message.resetTime = resetTime;
  return message;
}

/** Why it was refused: of several limits, the one with the longest wait. */
export function denialMessage(blocked: readonly Blocked[], times: ReturnTimes): Denial {
  let longest: { by: Blocked; waitMs: number } | undefined;
  for (const by of blocked) {
    const waitMs = retryAfterMs(by, times);
    if (longest === undefined || waitMs > longest.waitMs) longest = { by, waitMs };
  }
  if (longest === undefined) throw new Error("nothing refused it");
  const { by, waitMs } = longest;
  const { counter } = by;
  const message: Denial = {
    $typeName: "weir.quota.v1.Denial",
    limitId: counter.limit.id,
    dimension: dimensionOf(counter),
    reason: reasonOf(by),
    ceiling: counter.capacity,
    remaining: int64(counter.remaining),
    needed: int64(by.units),
  };
  if (counter.limit.spec?.subject !== undefined) message.subject = counter.limit.spec.subject;
  if (Number.isFinite(waitMs)) message.retryAfter = durationMessage(waitMs);
  const resetTime = resetTimeOf(counter);
  if (resetTime !== undefined) message.resetTime = resetTime;
  return message;
}

/**
 * How long to wait until it could fit: until enough has drained or the period is over, or until what runs has ended
 * and given back what it does not use, if that is sooner. If nobody else comes, it fits then.
 */
function retryAfterMs({ counter, units }: Blocked, times: ReturnTimes): number {
  if (units > counter.capacity) return Number.POSITIVE_INFINITY;
  if (counter.kind === "slots") return slotRetryMs;
  const { share, lease } = counter.outstanding;
  return Math.min(
    counter.waitMs(units),
    Math.max(times.reservationMs, counter.waitMs(units, share)),
    Math.max(times.leaseMs, counter.waitMs(units, share + lease)),
  );
}

function reasonOf({ counter, units }: Blocked): DenialReason {
  if (units > counter.capacity) return DenialReason.NEVER_FITS;
  if (counter.kind === "slots") return DenialReason.CONCURRENCY;
  if (counter.kind === "rate") return DenialReason.RATE;
  // What is only held may come back: a budget is used up when what is spent leaves no room.
  const { share, lease } = counter.outstanding;
  return counter.waitMs(units, share + lease) === 0 ? DenialReason.RATE : DenialReason.BUDGET;
}

/** A lease as its holder needs to know it. */
export function leaseMessage(lease: LeaseAccount, ttlMs: number): Lease {
  const { counter } = lease;
  const over = lease.ended || lease.window !== counter.window;
  const spendableMs = over ? 0 : Math.min(Math.floor((ttlMs * 2) / 3), counter.windowEndsInMs);
  const message: Lease = {
    $typeName: "weir.quota.v1.Lease",
    id: lease.id,
    limit: counter.limit,
    nodeId: lease.nodeId,
    amount: int64(lease.lent),
    spendableFor: durationMessage(Math.max(0, spendableMs)),
    ttl: durationMessage(ttlMs),
    limitRevision: counter.limit.revision,
    remaining: int64(counter.remaining),
    reportSequence: lease.sequence,
  };
  const resetTime = resetTimeOf(counter);
  if (resetTime !== undefined) message.resetTime = resetTime;
  return message;
}

export function statusMessage(counter: Counter): LimitStatus {
  const message: LimitStatus = {
    $typeName: "weir.quota.v1.LimitStatus",
    limit: counter.limit,
    used: counter.kind === "slots" ? 0n : int64(counter.used),
    reserved: int64(counter.outstanding.share),
    leased: int64(counter.outstanding.lease),
    remaining: int64(counter.remaining),
  };
  const resetTime = resetTimeOf(counter);
  if (resetTime !== undefined) message.resetTime = resetTime;
  return message;
}

export function durationMessage(longMs: number): Duration {
  const ms = Math.min(longMs, durationMaxMs);
  const seconds = Math.floor(ms / 1_000);
  return {
    $typeName: "google.protobuf.Duration",
    seconds: BigInt(seconds),
    nanos: Math.round((ms - seconds * 1_000) * 1_000_000),
  };
}

function timestampMessage(ms: number): Timestamp {
  const at = Math.min(ms, timestampMaxMs);
  const seconds = Math.floor(at / 1_000);
  return {
    $typeName: "google.protobuf.Timestamp",
    seconds: BigInt(seconds),
    nanos: (at - seconds * 1_000) * 1_000_000,
  };
}

function resetTimeOf(counter: Counter): Timestamp | undefined {
  const resetMs = counter.resetMs;
  return resetMs === undefined ? undefined : timestampMessage(resetMs);
}

function dimensionOf(counter: Counter): Dimension {
  return counter.limit.spec?.dimension ?? Dimension.UNSPECIFIED;
}

/** Debts and counts beyond what the contract's numbers hold are told as the furthest that they do. */
function int64(value: bigint): bigint {
  if (value > int64Max) return int64Max;
  return value < -int64Max ? -int64Max : value;
}
