import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Dimension, OnFailure, type Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { ReserveResponse } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Reservation } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { IdSource } from "../../runtime/ids.ts";
import { Roster } from "../../runtime/roster.ts";
import type { Account } from "./account.ts";
import { AheadDraws } from "./ahead.ts";
import type { Consumption } from "./consumption.ts";
import { amountsOf, HeldGrant } from "./grant.ts";
import { HeldLease, msOf } from "./held-lease.ts";
import type { LeaseBook } from "./lease-book.ts";
import type { LeaseNotes } from "./lease-notes.ts";
import type { Settlements } from "./settlements.ts";
import type { StoreLink } from "./store-link.ts";
import { neededIn, type Tokens } from "./terms.ts";

/** What a request asks for. */
export interface Ask {
  /** A UUIDv7. */
  readonly requestId: string;
  readonly principal: Principal;
  /** With aliases resolved. */
  readonly model: string;
  readonly operation: Operation;
  /** The most that it is expected to use; without a stated length of the answer an estimate. */
  readonly expected: Tokens;
  /** What it can't do without. */
  readonly least: Tokens;
}

export interface DeskParts {
  readonly link: StoreLink;
  readonly book: LeaseBook;
  readonly settlements: Settlements;
  readonly clock: Clock;
  readonly ids: Pick<IdSource, "uuidv7">;
  /** Undefined: what was spent need not outlive the process. */
  readonly notes: LeaseNotes | undefined;
}

/** Draws for requests: what the leases have at once, the rest from the store. */
export class Desk {
  readonly link: StoreLink;
  readonly book: LeaseBook;
  readonly settlements: Settlements;
  readonly clock: Clock;
  readonly ids: Pick<IdSource, "uuidv7">;
  /** Those that were given and have not ended. */
  readonly running = new Roster<HeldGrant>();
  readonly #notes: LeaseNotes | undefined;
  /** Something was given back to a lease that is not drawn from any more. */
  onFreed: () => void = () => undefined;
  readonly #back = (grant: HeldGrant): void => {
    this.running.delete(grant);
    this.note();
    for (const { account, source } of grant.parts) {
      if (account.former.size > 0 && source instanceof HeldLease && account.former.has(source)) this.onFreed();
    }
  };

  constructor({ link, book, settlements, clock, ids, notes }: DeskParts) {
    this.link = link;
    this.book = book;
    this.settlements = settlements;
    this.clock = clock;
    this.ids = ids;
    this.#notes = notes;
  }

  /** An empty grant for a request. */
  open(ask: Ask, consumption: Consumption): HeldGrant {
    const tokens = consumption.fitted(ask.expected, ask.least.outputTokens);
    return new HeldGrant(ask.requestId, consumption, tokens, this.settlements, this.#back);
  }

  /** Draws what the leases have. Returns the accounts that have to be asked for; undefined: none. */
  draw(grant: HeldGrant, accounts: readonly Account[], nowMs: number): Account[] | undefined {
    let missing: Account[] | undefined;
    for (const account of accounts) {
      // What may not be spent unchecked is not spent from a lease either once nothing is heard.
      const blind = account.terms.onFailure === OnFailure.CLOSED && this.link.silent(nowMs);
      if (!blind && grant.draw(account, nowMs)) continue;
      missing ??= [];
      missing.push(account);
    }
    this.note();
    return missing;
  }

  /** What is set aside has changed: it is noted, so that it counts if this process dies. */
  note(): void {
    this.#notes?.touch();
  }

  /** Whatever is drawn now: more is asked for in the background where it will soon be needed. */
  keepWarm(consumption: Consumption, accounts: readonly Account[], nowMs: number): void {
    let due = nowMs >= consumption.renewFromMs;
    for (const account of accounts) due ||= account.renewalDue(nowMs);
    if (due) this.book.renew(consumption, nowMs);
  }

  /** The store granted what the leases did not have. */
  granted(grant: HeldGrant, missing: readonly Account[], reservation: Reservation, sentMs: number): void {
    const nowMs = this.clock.monotonicMs();
    const nowWallMs = this.clock.nowMs();
    const shares = new Map(reservation.shares.map((share) => [share.limitId, share]));
    for (const account of missing) {
      const share = shares.get(account.id);
      // It was deleted meanwhile.
      if (share === undefined) continue;
      account.shared(share, nowMs, nowWallMs);
      const amount = Number(share.amount);
      grant.parts.push({ account, source: undefined, apart: false, amount, next: undefined });
    }
    grant.told(reservation.shares);
    grant.reserved = true;
    grant.outputTokensMax = Number(reservation.outputTokensMax);
    grant.ttlMs = msOf(reservation.ttl);
    grant.aliveMs = sentMs;
  }

  /**
   * Reserves for a request that runs what the store does not know of, or no more.
   *
   * @param estimate what it has used, and will use soon.
   * @throws WeirError the store can't be asked.
   */
  async reserveAnew(grant: HeldGrant, estimate: Tokens, least?: Tokens): Promise<ReserveResponse["outcome"]> {
    const { requestId, consumption } = grant;
    const { consumer, model, operation } = consumption;
    const sentMs = this.clock.monotonicMs();
    try {
      const { outcome } = await this.link.reserve({
        requestId,
        nodeId: this.link.holderId,
        consumer,
        model,
        operation,
        estimate: amountsOf(estimate),
        least: least ? amountsOf(least) : {},
        leasedLimitIds: grant.apartIds(),
      });
      if (outcome.case !== "granted") return outcome;
      if (grant.over) grant.takeBack();
      else {
        grant.told(outcome.value.shares);
        grant.unknown = false;
        grant.reserved = true;
        grant.ttlMs = msOf(outcome.value.ttl);
        grant.aliveMs = sentMs;
      }
      return outcome;
    } catch (error) {
      // It may have been granted all the same.
      if (grant.over) grant.takeBack();
      else grant.reserved = true;
      throw error;
    }
  }

  /** The store can't be asked. Whether the limits let the request run all the same, each by its on_failure. */
  unchecked(grant: HeldGrant, missing: readonly Account[]): boolean {
    const nowMs = this.clock.monotonicMs();
    for (const account of missing) {
      const amount = neededIn(account.terms.dimension, grant.tokens);
      const share = account.unchecked(amount, this.link.nodes, nowMs);
      if (share === undefined) return false;
      const source = share === "open" ? undefined : share;
      // Of a period that it does not know by now nobody tells when it ends.
      const period = account.fullAfterMs(nowMs) > 0 ? account.inPeriod(amount) : undefined;
      grant.parts.push({ account, source, apart: false, amount, period, next: undefined });
      if (account.terms.dimension === Dimension.CONCURRENT_REQUESTS) grant.unknown = true;
    }
    grant.owed = true;
    return true;
  }

  /** The grant is complete: what may cut the answer is watched from now on. */
  finish(grant: HeldGrant, ask: Ask): HeldGrant {
    this.running.add(grant);
    if (ask.least.outputTokens === 0 && grant.parts.some(({ account }) => account.terms.cuts && account.terms.enforced))
      grant.ahead = new AheadDraws(this, grant);
    return grant;
  }
}
