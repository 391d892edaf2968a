import { Dimension } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Terms } from "./terms.ts";

/**
 * A node's own share of a limit, for the time in which nobody can be asked: the limit divided by the nodes that were last
 * seen. So all nodes together admit no more than the limit, and what each had a part of before.
 *
 * A rate's share refills as the limit does; that of a budget does not; that of concurrency is what may run here.
 */
export class LocalShare {
  #level: number;
  #atMs: number;
  readonly #capacity: number;
  readonly #perMs: number;

  constructor({ dimension, whole, ceiling, refillMs }: Terms, holders: number, nowMs: number) {
    const share = whole / Math.max(1, holders);
    this.#capacity = dimension === Dimension.CONCURRENT_REQUESTS ? Math.floor(share) : share;
    this.#perMs = refillMs > 0 ? ceiling / Math.max(1, holders) / refillMs : 0;
    this.#level = this.#capacity;
    this.#atMs = nowMs;
  }

  /** Sets something aside. False: the share has not that much now. */
  draw(amount: number, nowMs: number): boolean {
    this.#level = Math.min(this.#capacity, this.#level + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    if (this.#level < amount) return false;
    this.#level -= amount;
    return true;
  }

  /** What was set aside is replaced by what was used. */
  settle(reserved: number, used: number): void {
    this.#level = Math.min(this.#capacity, this.#level + reserved - used);
  }
}
