/** How long a request has waited for a place, or been held back: all its waits together. Moments are monotonic. */
export class QueuedTime {
  /** Without the wait that has not ended. */
  ms = 0;
  #startMs: number | undefined;

  /** A wait begins. */
  begin(nowMs: number): void {
    this.#startMs = nowMs;
  }

  /** The wait is over; nothing happens if there was none. */
  end(nowMs: number): void {
    if (this.#startMs !== undefined) this.ms += nowMs - this.#startMs;
    this.#startMs = undefined;
  }
}
