import { Dimension } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Terms } from "./terms.ts";

/**
 * A node's own share of a limit, for the time in which nobody can be asked: the limit divided by the nodes that were last
 * seen. So all nodes together admit no more than the limit, and what each had a part of before.
 *
 * It is a bucket seen from above: what was drawn drains as the limit refills; that of a budget does not; of concurrency
 * it is what runs here. It outlives the time that it is for, so that the next such time goes on with it.
 */
export class LocalShare {
  /** Nodes that the limit is divided by; 1 or more. */
  holders = 1;
  readonly #terms: Terms;
  #drawn = 0;
  #atMs: number;

  constructor(terms: Terms, nowMs: number) {
    this.#terms = terms;
    this.#atMs = nowMs;
  }

  /** Sets something aside. False: the share has not that much now. */
  draw(amount: number, nowMs: number): boolean {
    const { dimension, whole } = this.#terms;
    this.#drain(nowMs);
    const share = whole / this.holders;
    const capacity = dimension === Dimension.CONCURRENT_REQUESTS ? Math.floor(share) : share;
    if (this.#drawn + amount > capacity) return false;
    this.#drawn += amount;
    return true;
  }

  /** Whether it is as if nothing had been drawn of it. */
  isWhole(nowMs: number): boolean {
    this.#drain(nowMs);
    return this.#drawn === 0;
  }

  /** What was set aside is replaced by what was used. */
  settle(reserved: number, used: number): void {
    this.#drawn = Math.max(0, this.#drawn - reserved + used);
  }

  #drain(nowMs: number): void {
    const { ceiling, refillMs } = this.#terms;
    if (refillMs > 0) {
      const drained = ((nowMs - this.#atMs) * ceiling) / refillMs / this.holders;
      this.#drawn = Math.max(0, this.#drawn - drained);
    }
    this.#atMs = nowMs;
  }
}
