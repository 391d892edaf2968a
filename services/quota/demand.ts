/** A lease's life twice: whoever is silent for longer wants nothing. */
const holderMs = 30_000;
const generationMs = 60_000;
// Far above any installation. One that is not counted makes the others' leases larger, and nothing less exact.
const holdersMax = 1_024;

/** Who draws from a limit lately, and how much at once: what its sharing goes by. */
export class Demand {
  /** When each node was last heard, the longest silent first. */
  readonly #holders = new Map<string, number>();
  #latest = "";
  #latestMs = Number.NEGATIVE_INFINITY;
  #largest = 0n;
  #largestBefore = 0n;
  #generationEndsMs = Number.NEGATIVE_INFINITY;

  /** A node asked. */
  hear(nodeId: string, nowMs: number): void {
    // The same node asks again and again: a second more or less is not worth the change.
    if (nodeId === this.#latest && nowMs - this.#latestMs < 1_000) return;
    this.#latest = nodeId;
    this.#latestMs = nowMs;
    this.#holders.delete(nodeId);
    this.#forgetSilent(nowMs);
    if (this.#holders.size < holdersMax) this.#holders.set(nodeId, nowMs);
  }

  /** A request costs this much. */
  observe(cost: bigint, nowMs: number): void {
    this.#age(nowMs);
    if (cost > this.#largest) this.#largest = cost;
  }

  /** How many nodes hold a part or have asked lately. */
  holders(nowMs: number): number {
    this.#forgetSilent(nowMs);
    return this.#holders.size;
  }

  /** What the largest request of the last one to two minutes cost; at least 1. */
  largest(nowMs: number): bigint {
    this.#age(nowMs);
    const largest = this.#largest > this.#largestBefore ? this.#largest : this.#largestBefore;
    return largest > 1n ? largest : 1n;
  }

  #age(nowMs: number): void {
    if (nowMs < this.#generationEndsMs) return;
    this.#largestBefore = nowMs < this.#generationEndsMs + generationMs ? this.#largest : 0n;
    this.#largest = 0n;
    this.#generationEndsMs = nowMs + generationMs;
  }

  #forgetSilent(nowMs: number): void {
    for (const [nodeId, heardMs] of this.#holders) {
      if (nowMs - heardMs < holderMs) return;
      this.#holders.delete(nodeId);
    }
  }
}

/**
 * How much unspent credit a node may hold of a limit; 0 says that the limit is central, and every request asks.
 *
 * @param pool what the limit has left, with the node's own unspent credit.
 * @param wanted what the node expects to use in the life of a lease.
 */
export function leaseCredit(pool: bigint, wanted: bigint, largest: bigint, holders: number): bigint {
  const parts = 4n * BigInt(Math.max(1, holders));
  if (pool < 4n * largest || pool < parts) return 0n;
  const part = pool / parts;
  return wanted < part ? wanted : part;
}
