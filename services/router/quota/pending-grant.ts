import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import type { Denial } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import type { WeirError } from "../../runtime/errors/fail.ts";
import type { Account } from "./account.ts";
import type { Consumption } from "./consumption.ts";
import type { Ask, Desk } from "./desk.ts";
import { amountsOf, type Grant, type HeldGrant, unlimited } from "./grant.ts";
import { refusalOf, uncheckable } from "./refusal.ts";
import { neededIn } from "./terms.ts";

/** Who waits for a grant. It hears one of the two, once, unless it cancels before. */
export interface Taker {
  given(grant: Grant): void;
  denied(error: WeirError): void;
}

/** A place that is given back is on its way for a moment: who sends one request after the other meets no shadow. */
const waitMax: Duration = Object.freeze(create(DurationSchema, { nanos: 250_000_000 }));
/** Credit that comes while the store refuses is drawn; who loses it to others each time is refused in the end. */
const roundsMax = 8;

/**
 * A grant that takes a call.
 *
 * - **listing**: which limits count the request is not known, or more of them is on its way. Then
 * - **drawing**, at once: what leases have is drawn. They have all: *over*. They have not, and more could be lent: *listing*
 *   again, once, for the call may have been sent before anybody knew of this request. Else
 * - **reserving**: the store is asked for the rest. It grants: *over*. It refuses, but the node has credit of that limit by
 *   now, or a call for some is on its way: what was drawn is given back, and after that call it is *drawing* again. It
 *   refuses: *over*. It can't be asked: each limit's on_failure decides, and it is *over*.
 * - **over**: the taker has been told.
 *
 * A cancel ends it in every phase: what was drawn goes back at once, what the store grants later is released.
 */
export class PendingGrant {
  readonly #desk: Desk;
  readonly #consumption: Consumption;
  readonly #ask: Ask;
  readonly #taker: Taker;
  #grant: HeldGrant | undefined;
  #over = false;
  #rounds = 0;
  #listed = 0;

  constructor(desk: Desk, consumption: Consumption, ask: Ask, taker: Taker) {
    this.#desk = desk;
    this.#consumption = consumption;
    this.#ask = ask;
    this.#taker = taker;
  }

  /** Nobody waits any more. */
  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#grant?.giveBack();
  }

  /** Finds out which limits count it. */
  async list(): Promise<void> {
    try {
      await this.#desk.book.ask(this.#consumption);
    } catch (error) {
      // Who was seen before goes by what was known then, a known key with another model by what is known of the key.
      if (this.#consumption.accounts === undefined && !this.#desk.book.goByKey(this.#consumption))
        return this.#deny(uncheckable(error));
    }
    this.#listed += 1;
    await this.#draw();
  }

  /** Asks for what the leases do not have. */
  async reserve(grant: HeldGrant, missing: readonly Account[]): Promise<void> {
    this.#grant = grant;
    const { link, book, clock, settlements } = this.#desk;
    const { consumer, model, operation } = this.#consumption;
    const { requestId, least } = this.#ask;
    const sentMs = clock.monotonicMs();
    const leases = book.settledLeases(missing);
    try {
      const { outcome } = await book.telling(leases, true, (reports) =>
        link.reserve({
          requestId,
          nodeId: link.holderId,
          consumer,
          model,
          operation,
          estimate: amountsOf(grant.tokens),
          least: amountsOf(least),
          leasedLimitIds: grant.apartIds(),
          waitMax,
          reports,
        }),
      );
      if (this.#over) {
        if (outcome.case !== "denied") settlements.release(requestId);
      } else if (outcome.case === "granted") {
        this.#desk.granted(grant, missing, outcome.value, sentMs);
        this.#give(this.#desk.finish(grant, this.#ask));
      } else if (outcome.case === "denied") await this.#denied(grant, missing, outcome.value);
      else this.unchecked(grant, missing, undefined);
    } catch (error) {
      // It may have been granted all the same: who gets the grant may end it at once, and the store is to hear that.
      grant.reserved = true;
      if (this.#over || !this.unchecked(grant, missing, error)) settlements.release(requestId);
    }
  }

  async #draw(): Promise<void> {
    if (this.#over) return;
    const accounts = this.#consumption.accounts ?? [];
    if (accounts.length === 0) return this.#give(unlimited);
    const grant = this.#desk.open(this.#ask, this.#consumption);
    const nowMs = this.#desk.clock.monotonicMs();
    const missing = this.#desk.draw(grant, accounts, nowMs);
    this.#desk.keepWarm(this.#consumption, accounts, nowMs);
    if (missing === undefined) return this.#give(this.#desk.finish(grant, this.#ask));
    if (!this.#desk.link.mayCall(nowMs)) return void this.unchecked(grant, missing, undefined);
    if (this.#listed === 1 && this.#desk.book.brings(this.#consumption, missing)) {
      grant.giveBack();
      return this.list();
    }
    await this.reserve(grant, missing);
  }

  async #denied(grant: HeldGrant, missing: readonly Account[], denial: Denial): Promise<void> {
    grant.giveBack();
    const account = missing.find(({ id }) => id === denial.limitId);
    const needed = account ? neededIn(account.terms.dimension, grant.tokens) : 0;
    const has = () => account?.lease !== undefined && account.lease.credit >= needed;
    // If a call for more fails there is nothing to draw.
    if (account && !has()) await this.#desk.book.callsFor(account);
    this.#rounds += 1;
    if (has() && this.#rounds < roundsMax) await this.#draw();
    else this.#deny(refusalOf(denial, this.#desk.clock.nowMs()));
  }

  /** The store can't be asked: each limit's on_failure decides. Returns whether the request may run. */
  unchecked(grant: HeldGrant, missing: readonly Account[], error: unknown): boolean {
    if (this.#over) return false;
    if (this.#desk.unchecked(grant, missing)) {
      this.#give(this.#desk.finish(grant, this.#ask));
      return true;
    }
    grant.giveBack();
    this.#deny(uncheckable(error));
    return false;
  }

  #give(grant: Grant): void {
    if (this.#over) return grant.release();
    this.#over = true;
    this.#taker.given(grant);
  }

  #deny(error: WeirError): void {
    if (this.#over) return;
    this.#over = true;
    this.#taker.denied(error);
  }
}
