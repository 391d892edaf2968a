import type { StoreTime } from "./counter.ts";
import type { LeaseAccount } from "./leases.ts";

/**
 * Leases that are over, so that what is told of them again changes nothing, and what is told of them late still counts.
 * Each is remembered for `keptMs` at least, and until as many go again; of more than `keptMax` the oldest half is
 * forgotten sooner.
 */
export class GoneLeases {
  readonly #time: StoreTime;
  readonly #keptMs: number;
  readonly #keptMax: number;
  #young = new Map<string, LeaseAccount>();
  #old = new Map<string, LeaseAccount>();
  #youngSinceMs: number;

  constructor(time: StoreTime, keptMs: number, keptMax: number) {
    this.#time = time;
    this.#keptMs = keptMs;
    this.#keptMax = keptMax;
    this.#youngSinceMs = time.nowMs;
  }

  get(leaseId: string): LeaseAccount | undefined {
    return this.#young.get(leaseId) ?? this.#old.get(leaseId);
  }

  add(lease: LeaseAccount): void {
    const { nowMs } = this.#time;
    if (nowMs - this.#youngSinceMs >= this.#keptMs || this.#young.size >= this.#keptMax / 2) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSinceMs = nowMs;
    }
    this.#young.set(lease.id, lease);
  }
}
