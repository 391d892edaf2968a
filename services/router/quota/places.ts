import { Dimension } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Desk } from "./desk.ts";
import { amountsOf, type HeldGrant, type Part } from "./grant.ts";
import { HeldLease, msOf } from "./held-lease.ts";

/** Where all places are taken it is asked for so often: the request runs on meanwhile. */
const askAgainMs = 5_000;
/** Asked for at a time: a service that has just started is not flooded. */
const askingMax = 64;

/**
 * Reserves for requests that run what the store does not know of: it was away for longer than it keeps what it hears
 * nothing of, it has started anew, or it could not be asked when they began. Without that it would admit others in their
 * places.
 */
export class Places {
  readonly #desk: Desk;
  readonly #askedMs = new WeakMap<HeldGrant, number>();
  #asking = 0;
  /** Some wait for the answers to others. */
  #more = false;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  /** Asks for what is due. */
  look(nowMs: number): void {
    this.#more = false;
    for (const grant of this.#desk.running) {
      if (this.#asking >= askingMax) {
        this.#more = true;
        return;
      }
      if (!(grant.unknown || grant.parts.some(isLost))) continue;
      if (nowMs - (this.#askedMs.get(grant) ?? Number.NEGATIVE_INFINITY) < askAgainMs) continue;
      this.#askedMs.set(grant, nowMs);
      void this.#reserve(grant, nowMs);
    }
  }

  async #reserve(grant: HeldGrant, nowMs: number): Promise<void> {
    const { link, settlements } = this.#desk;
    const { requestId, consumption, tokens } = grant;
    const { consumer, model, operation } = consumption;
    const lost = grant.parts.filter(isLost);
    const leasedLimitIds = grant.parts.flatMap((part) => (part.apart && !isLost(part) ? [part.account.id] : []));
    this.#asking += 1;
    try {
      const { outcome } = await link.reserve({
        requestId,
        nodeId: link.holderId,
        consumer,
        model,
        operation,
        estimate: amountsOf(tokens),
        least: {},
        leasedLimitIds,
      });
      if (outcome.case !== "granted") return;
      // What it used is settled; if it was not told of, it was drawn from leases.
      if (grant.over) return settlements.release(requestId);
      for (const part of lost) {
        part.source?.settle(part.amount, 0);
        part.source = undefined;
        part.apart = false;
      }
      grant.unknown = false;
      grant.reserved = true;
      grant.ttlMs = msOf(outcome.value.ttl);
      grant.aliveMs = nowMs;
    } catch {
      // It may have been granted all the same.
      if (grant.over) settlements.release(requestId);
      else grant.reserved = true;
      this.#askedMs.delete(grant);
    } finally {
      this.#asking -= 1;
      if (this.#more && this.#asking <= askingMax / 2) this.look(this.#desk.clock.monotonicMs());
    }
  }
}

/** A place that was drawn from a lease which is gone. */
function isLost({ account, source }: Part): boolean {
  return account.terms.dimension === Dimension.CONCURRENT_REQUESTS && source instanceof HeldLease && source.gone;
}
