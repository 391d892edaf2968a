import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Dimension } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Denial } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Account } from "./account.ts";
import type { Desk } from "./desk.ts";
import { type Ahead, amountsOf, type HeldGrant, type Part } from "./grant.ts";
import { HeldLease } from "./held-lease.ts";
import { LocalShare } from "./local-share.ts";
import { neededIn } from "./terms.ts";

/** Tokens that are drawn at a time: some seconds of an answer. */
const sliceTokens = 256;
/** With less than this left the next slice is drawn: some tenths of a second of a fast engine. */
const leftMin = 128;

/** One limit that cuts: what is drawn of it, and whether more is to be had. */
interface Watched {
  readonly account: Account;
  /** The newest of what was set aside of it. */
  last: Part;
  amount: number;
  state: "more" | "asking" | "none";
}

/**
 * Draws slices for an answer whose length nobody stated, from limits that cut: ahead of what it needs, from the lease
 * first, then from the store. When the store refuses one, what is left of the limit is the last: there the answer ends.
 */
export class AheadDraws implements Ahead {
  readonly #desk: Desk;
  readonly #grant: HeldGrant;
  readonly #watched: Watched[] = [];

  constructor(desk: Desk, grant: HeldGrant) {
    this.#desk = desk;
    this.#grant = grant;
    for (const part of grant.parts) {
      const { account, amount } = part;
      if (account.terms.cuts && account.terms.enforced)
        this.#watched.push({ account, last: part, amount, state: "more" });
    }
  }

  goesOn(outputTokens: number): boolean {
    const used = { inputTokens: this.#grant.tokens.inputTokens, outputTokens };
    for (const watched of this.#watched) {
      const left = watched.amount - neededIn(watched.account.terms.dimension, used);
      if (left <= 0 && watched.state === "none") return false;
      if (left < leftMin && watched.state === "more") this.#more(watched);
    }
    return true;
  }

  #more(watched: Watched): void {
    const { account, last } = watched;
    const nowMs = this.#desk.clock.monotonicMs();
    if (last.source instanceof LocalShare) {
      if (last.source.draw(sliceTokens, nowMs)) this.#grew(watched, last, sliceTokens);
      else watched.state = "none";
      return;
    }
    // Nobody counts where the limit is open while it can't be checked.
    if (last.source === undefined && !this.#grant.reserved) return this.#grew(watched, last, sliceTokens);
    if (last.source === undefined) return void this.#extend(watched, sliceTokens);
    if (last.source instanceof HeldLease && last.source === account.lease && account.draw(sliceTokens, nowMs)) {
      this.#desk.keepWarm(this.#grant.consumption, [account], nowMs);
      return this.#grew(watched, last, sliceTokens);
    }
    const lease = account.draw(sliceTokens, nowMs);
    if (lease) this.#append(watched, { account, source: lease, apart: true, amount: sliceTokens, next: undefined });
    else void this.#reserve(watched, sliceTokens);
  }

  #grew(watched: Watched, part: Part, tokens: number): void {
    part.amount += tokens;
    watched.amount += tokens;
    this.#desk.note();
  }

  #append(watched: Watched, part: Part): void {
    watched.last.next = part;
    watched.last = part;
    watched.amount += part.amount;
    this.#desk.note();
  }

  /** More of the request's own reservation: of every limit in it. */
  async #extend(watched: Watched, tokens: number): Promise<void> {
    const grant = this.#grant;
    const own = this.#watched.filter(({ last }) => last.source === undefined);
    for (const one of own) one.state = "asking";
    grant.slice += 1;
    const sentMs = this.#desk.clock.monotonicMs();
    try {
      const { outcome } = await this.#desk.link.extend({
        requestId: grant.requestId,
        slice: grant.slice,
        more: amountsOf({ inputTokens: 0, outputTokens: tokens }),
        used: amountsOf({ inputTokens: grant.tokens.inputTokens, outputTokens: grant.received }),
      });
      grant.aliveMs = sentMs;
      const rest = outcome.case === "denied" ? restOf(outcome.value, tokens) : 0;
      if (rest > 0) return void this.#extend(watched, rest);
      const granted = outcome.case === "granted";
      if (granted) grant.told(outcome.value.shares);
      for (const one of own) {
        if (granted) this.#grew(one, one.last, tokens);
        one.state = granted && tokens === sliceTokens ? "more" : "none";
      }
    } catch (thrown) {
      if (weirErrorFrom(thrown).reason !== ErrorReason.NOT_FOUND) return this.#uncheckable(watched, own);
      grant.unknown = true;
      await this.#reserveAnew(watched, own, tokens);
    }
  }

  /** The store has lost the reservation: it is asked for what the answer has by now, and the slice. */
  async #reserveAnew(watched: Watched, own: readonly Watched[], tokens: number): Promise<void> {
    const { tokens: asked, received } = this.#grant;
    const used = { inputTokens: asked.inputTokens, outputTokens: received };
    try {
      const wanted = { ...used, outputTokens: received + tokens };
      const { case: answer, value } = await this.#desk.reserveAnew(this.#grant, wanted, used);
      const refusedBy = answer === "denied" ? value.limitId : undefined;
      const isCut = own.some(({ account }) => account.id === refusedBy);
      for (const one of own) {
        const { id, terms } = one.account;
        const share = answer === "granted" ? value.shares.find(({ limitId }) => limitId === id) : undefined;
        // Another limit is in its way, and says nothing of this one: it goes on for a slice, and asks again.
        if (share === undefined) this.#grew(one, one.last, isCut ? 0 : tokens);
        else one.amount = one.last.amount = Math.max(Number(share.amount), neededIn(terms.dimension, used));
        one.state = isCut ? "none" : "more";
      }
    } catch {
      this.#uncheckable(watched, own);
    }
  }

  /** A slice beyond the lease: a reservation of its own, of this limit alone. It is settled at once, and at the end anew. */
  async #reserve(watched: Watched, tokens: number): Promise<void> {
    watched.state = "asking";
    const { link, book, ids, settlements } = this.#desk;
    const { consumption } = this.#grant;
    const { consumer, model, operation } = consumption;
    const { account } = watched;
    const requestId = ids.uuidv7();
    const leasedLimitIds = (consumption.accounts ?? []).flatMap(({ id }) => (id === account.id ? [] : [id]));
    const about = { requestId, consumer, model, operation, leasedLimitIds };
    try {
      const { outcome } = await book.telling(book.settledLeases([account]), true, (reports) =>
        link.reserve({
          ...about,
          nodeId: link.holderId,
          estimate: amountsOf({ inputTokens: 0, outputTokens: tokens }),
          least: {},
          reports,
        }),
      );
      if (outcome.case !== "granted") {
        const rest = outcome.case === "denied" ? restOf(outcome.value, tokens) : 0;
        if (rest > 0) return void this.#reserve(watched, rest);
        watched.state = "none";
        return;
      }
      if (this.#grant.over) return settlements.release(requestId);
      // Of a budget that holds less the store sets aside what there is.
      const share = outcome.value.shares.find(({ limitId }) => limitId === account.id);
      const amount = share === undefined ? tokens : Math.min(tokens, Number(share.amount));
      const period = account.inPeriod(amount, share?.resetTime);
      const count = (outputTokens: number, sequence: bigint) => {
        const used = amountsOf({ inputTokens: 0, outputTokens });
        settlements.settle({ ...about, used, sequence, periods: period ? [period] : [] });
      };
      // Nothing keeps it alive: it counts as used in full, until the truth replaces that.
      count(amount, 1n);
      const source = { settle: (_reserved: number, used: number) => count(used, 2n) };
      this.#append(watched, { account, source, apart: true, amount, next: undefined });
      watched.state = amount === sliceTokens ? "more" : "none";
    } catch {
      settlements.release(requestId);
      this.#uncheckable(watched, [watched]);
    }
  }

  #uncheckable(watched: Watched, asked: readonly Watched[]): void {
    // Nobody would give back what is set aside for it now.
    if (this.#grant.over) return;
    const { clock, link } = this.#desk;
    for (const one of asked) one.state = "more";
    const { account, last } = watched;
    if (account.unchecked(sliceTokens, link.nodes, clock.monotonicMs()) === undefined) {
      watched.state = "none";
      return;
    }
    // It counts on its lease with the rest of the answer.
    if (last.source instanceof HeldLease) last.source.overdraw(sliceTokens);
    this.#grew(watched, last, sliceTokens);
  }
}

/** Tokens that are left where `tokens` were refused; 0 where that is not said in tokens, or is nothing. */
function restOf({ dimension, remaining }: Denial, tokens: number): number {
  if (dimension !== Dimension.TOTAL_TOKENS && dimension !== Dimension.OUTPUT_TOKENS) return 0;
  const rest = Number(remaining);
  return rest < tokens ? Math.max(0, rest) : 0;
}
