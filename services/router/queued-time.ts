import type { Clock } from "../runtime/clock.ts";

/** How long a request has waited for a place, or been held back: all its waits together. */
export class QueuedTime {
  /** Without the wait that has not ended. */
  ms = 0;
  #startMs: number | undefined;

  /** A wait begins. */
  begin(clock: Clock): void {
    this.#startMs = clock.monotonicMs();
  }

  /** The wait is over; nothing happens if there was none. */
  end(clock: Clock): void {
    if (this.#startMs === undefined) return;
    this.ms += clock.monotonicMs() - this.#startMs;
    this.#startMs = undefined;
  }
}
