import type { Desk } from "./desk.ts";
import type { HeldGrant } from "./grant.ts";

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
      if (!grant.unknown) continue;
      if (nowMs - (this.#askedMs.get(grant) ?? Number.NEGATIVE_INFINITY) < askAgainMs) continue;
      this.#askedMs.set(grant, nowMs);
      void this.#reserve(grant);
    }
  }

  async #reserve(grant: HeldGrant): Promise<void> {
    this.#asking += 1;
    try {
      await this.#desk.reserveAnew(grant, grant.tokens);
    } catch {
      this.#askedMs.delete(grant);
    } finally {
      this.#asking -= 1;
      if (this.#more && this.#asking <= askingMax / 2) this.look(this.#desk.clock.monotonicMs());
    }
  }
}
