import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { ExtendRequest, ReserveRequest } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Denial } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { book, heldBy, moveOn } from "./account.ts";
import type { Attempt, Blocked } from "./admission.ts";
import { cuts, meteredIn, refuses, usedSoFarIn } from "./costs.ts";
import type { Counter } from "./counter.ts";
import { type Ask, type Booking, type BookingBook, type Share, tell } from "./reservations.ts";
import { addSlice, hasSlice } from "./slices.ts";

/** What came of an attempt. */
export type Outcome =
  | { readonly granted: Booking }
  | { readonly denied: Denial }
  /** What it was for has ended meanwhile. */
  | "ended";

/** Says why. */
type Explain = (blocked: readonly Blocked[]) => Denial;

/** A request's shares, all or none. */
export function reserveAttempt(
  bookings: BookingBook,
  request: ReserveRequest,
  asks: readonly Ask[],
  waitMaxMs: number,
  explain: Explain,
): Attempt<Outcome> {
  let booking: Booking | undefined;

  function grant(unitsOf: (ask: Ask) => bigint): Booking {
    const expired = bookings.get(request.requestId);
    const kept = expired?.shares.filter((share) => !asks.some((ask) => ask.share === share)) ?? [];
    const shares = [...asks.map((ask) => ask.share), ...kept];
    const made = bookings.begin(request.requestId, shares, outputTokensMax(asks, request));
    for (const ask of asks) {
      const units = unitsOf(ask);
      const held = heldBy(ask.share);
      book(ask.share, units > held ? units : held, expired ? usedSoFarIn(ask.share.counter.limit, made.told) : 0n);
    }
    return made;
  }

  return {
    waitMaxMs,
    take() {
      const blocked = blockedOf(asks);
      if (blocked.length === 0) booking = grant((ask) => ask.units);
      return blocked;
    },
    granted: () => (booking === undefined ? "ended" : { granted: booking }),
    refused(blocked) {
      const now = blockedOf(asks);
      if (now.length > 0 && now.every((by) => asks.some((ask) => ask.share.counter === by.counter && hasSome(ask)))) {
        return { granted: grant((ask) => (isBlocked(ask) ? available(ask.share) : ask.units)) };
      }
      return { denied: explain(now.length > 0 ? now : blocked) };
    },
  };
}

/** A slice more for a request that runs. Where an answer is not cut, it is granted and owed. */
export function extendAttempt(booking: Booking, request: ExtendRequest, explain: Explain): Attempt<Outcome> {
  const more = (counter: Counter) => (request.more ? meteredIn(counter.limit, request.more) : 0n);

  function blockedShares(): Blocked[] {
    const blocked: Blocked[] = [];
    for (const { counter } of booking.shares) {
      const units = more(counter);
      if (units === 0n || counter.gone || !cuts(counter.limit) || !refuses(counter.limit)) continue;
      if (!counter.fits(units)) blocked.push({ counter, units });
    }
    return blocked;
  }

  return {
    waitMaxMs: 0,
    take() {
      if (booking.state !== "running" || hasSlice(booking.slices, request.slice)) return [];
      for (const share of booking.shares) share.counter.refresh();
      if (request.used) tell(booking, request.used);
      const blocked = blockedShares();
      if (blocked.length > 0) return blocked;
      let drawn = false;
      for (const share of booking.shares) {
        const units = more(share.counter);
        if (units === 0n) continue;
        drawn = true;
        book(share, heldBy(share) + units, usedSoFarIn(share.counter.limit, booking.told));
      }
      // One that draws nothing only keeps the reservation alive, under whatever number.
      if (drawn) addSlice(booking.slices, request.slice);
      return blocked;
    },
    granted: () => (booking.state === "running" ? { granted: booking } : "ended"),
    refused: (blocked) => ({ denied: explain(blocked) }),
  };
}

/** The limits that have not what is asked of them; a limit of which nothing is asked is in nobody's way. */
function blockedOf(asks: readonly Ask[]): Blocked[] {
  const blocked: Blocked[] = [];
  for (const ask of asks) {
    ask.share.counter.refresh();
    moveOn(ask.share);
    if (isBlocked(ask)) blocked.push({ counter: ask.share.counter, units: ask.units - heldBy(ask.share) });
  }
  return blocked;
}

function isBlocked({ share, units }: Ask): boolean {
  const missing = units - heldBy(share);
  return missing > 0n && !share.counter.gone && refuses(share.counter.limit) && !share.counter.fits(missing);
}

/** What a share could have at most. */
function available(share: Share): bigint {
  return heldBy(share) + share.counter.remaining;
}

/**
 * Whether a budget has something left for a request, although not all that it is expected to use: what is left would be
 * of no use to anyone until the period ends. A rate fills up again: there waiting is better.
 */
function hasSome({ share, least }: Ask): boolean {
  return share.counter.kind === "budget" && available(share) > least;
}

/** How long an answer may get where a budget that cuts holds less in all than it is expected to need. */
function outputTokensMax(asks: readonly Ask[], request: ReserveRequest): bigint {
  let most = 0n;
  for (const { share, estimate } of asks) {
    const { counter } = share;
    if (counter.kind !== "budget" || estimate <= counter.capacity) continue;
    if (!refuses(counter.limit) || !cuts(counter.limit)) continue;
    const dimension = counter.limit.spec?.dimension;
    if (dimension !== Dimension.TOTAL_TOKENS && dimension !== Dimension.OUTPUT_TOKENS) continue;
    const prompt = dimension === Dimension.TOTAL_TOKENS ? (request.least?.inputTokens ?? 0n) : 0n;
    const left = counter.capacity > prompt ? counter.capacity - prompt : 1n;
    if (most === 0n || left < most) most = left;
  }
  return most;
}
