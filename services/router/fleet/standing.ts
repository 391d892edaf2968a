import type { Clock, Timer } from "../../runtime/clock.ts";
import { clean, type HealthRecord, isEjected } from "./ejection.ts";

/** What this router itself knows of a replica, through whichever driver it speaks to it. */
export class Standing implements Disposable {
  /** Where it is now. */
  poolId: string;
  /** Requests that it has from this router. */
  inFlight = 0;
  /** When a request that it had taken up last ended without a whole answer, while it lived. In monotonic milliseconds. */
  brokeOffMs = Number.NEGATIVE_INFINITY;
  #health: HealthRecord = clean;
  readonly #clock: Clock;
  readonly #opened: (poolId: string) => void;
  #timer: Timer | undefined;
  #closed = false;

  /** @param opened an ejection is over: who waits for the pool should look again. */
  constructor(poolId: string, clock: Clock, opened: (poolId: string) => void) {
    this.poolId = poolId;
    this.#clock = clock;
    this.#opened = opened;
  }

  get health(): HealthRecord {
    return this.#health;
  }

  get ejected(): boolean {
    return this.#health.ejectedUntilMs !== 0 && isEjected(this.#health, this.#clock.monotonicMs());
  }

  /** Takes what an answer, or the lack of one, says of it. */
  judge(health: HealthRecord): void {
    this.#health = health;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.ejected && !this.#closed) this.#await(health.ejectedUntilMs);
  }

  /** A timer may be a moment early. */
  #await(untilMs: number): void {
    this.#timer = this.#clock.setTimer(untilMs - this.#clock.monotonicMs(), () => {
      this.#timer = undefined;
      if (this.ejected) this.#await(untilMs);
      else this.#opened(this.poolId);
    });
  }

  /** Nothing is said of it any more. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
