import type { StoreTime } from "./counter.ts";

/** What is left of a lease that is over. */
export interface GoneLease {
  readonly limitId: string;
  readonly nodeId: string;
  /** What was spent of it before it was taken up, as far as a store had heard it. */
  readonly before: bigint;
  /** The most that was reported as spent, beyond `before`. */
  readonly told: bigint;
  /** What was held of it in all, `told` or more: what is spent beyond it is drawn anew. */
  readonly held: bigint;
  readonly sequence: bigint;
}

/**
 * Leases that are over, so that what is told of them again changes nothing, and what is told of them late still counts.
 * Each is remembered for `keptMs` at least, and until as many go again; of more than `keptMax` the oldest half is
 * forgotten sooner.
 */
export class GoneLeases {
  readonly #time: StoreTime;
  readonly #keptMs: number;
  readonly #keptMax: number;
  #young = new Map<string, GoneLease>();
  #old = new Map<string, GoneLease>();
  #youngSinceMs: number;

  constructor(time: StoreTime, keptMs: number, keptMax: number) {
    this.#time = time;
    this.#keptMs = keptMs;
    this.#keptMax = keptMax;
    this.#youngSinceMs = time.nowMs;
  }

  get(leaseId: string): GoneLease | undefined {
    return this.#young.get(leaseId) ?? this.#old.get(leaseId);
  }

  add(leaseId: string, lease: GoneLease): void {
    const { nowMs } = this.#time;
    if (nowMs - this.#youngSinceMs >= this.#keptMs || this.#young.size >= this.#keptMax / 2) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSinceMs = nowMs;
    }
    this.#young.set(leaseId, lease);
  }
}
