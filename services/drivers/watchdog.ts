import type { Clock, Timer } from "../runtime/clock.ts";

/** What a silent engine was expected to do. */
export type Phase = "first event" | "next event" | "end";

/** How long an engine may be silent, in milliseconds. */
export interface Patience {
  readonly firstEventMs: number;
  readonly idleMs: number;
  readonly totalMs: number;
}

/**
 * Watches one generation. It waits for the first event, then for the next one, and all the while for the end; when one
 * of them takes too long it says so, once. While paused (we do not read) only the end is waited for.
 */
export interface Watchdog {
  /** Something came. Cheap: it is called for every frame. */
  touch(): void;
  pause(): void;
  resume(): void;
  stop(): void;
}

/** Starts watching. */
export function createWatchdog(
  clock: Clock,
  patience: Patience,
  expired: (phase: Phase, waitedMs: number) => void,
): Watchdog {
  return new TimedWatchdog(clock, patience, expired);
}

class TimedWatchdog implements Watchdog {
  readonly #clock: Clock;
  readonly #patience: Patience;
  readonly #expired: (phase: Phase, waitedMs: number) => void;
  readonly #startMs: number;
  #lastMs: number;
  #heard = false;
  #paused = false;
  #timer: Timer | undefined;
  /** When the timer fires. */
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, patience: Patience, expired: (phase: Phase, waitedMs: number) => void) {
    this.#clock = clock;
    this.#patience = patience;
    this.#expired = expired;
    this.#startMs = clock.monotonicMs();
    this.#lastMs = this.#startMs;
    this.#arm(this.#startMs);
  }

  touch(): void {
    this.#lastMs = this.#clock.monotonicMs();
    if (this.#heard) return;
    this.#heard = true;
    this.#arm(this.#lastMs);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#lastMs = this.#clock.monotonicMs();
    this.#arm(this.#lastMs);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** When something has to have happened. */
  #nextMs(): number {
    const { firstEventMs, idleMs, totalMs } = this.#patience;
    const endMs = this.#startMs + totalMs;
    return this.#paused ? endMs : Math.min(endMs, this.#lastMs + (this.#heard ? idleMs : firstEventMs));
  }

  // One timer, which looks at the last touch when it fires: to set it anew for each frame would cost more than the frame.
  // One that fires too early is left alone, too.
  #arm(nowMs: number): void {
    const nextMs = this.#nextMs();
    if (this.#timer !== undefined && this.#dueMs <= nextMs) return;
    this.#timer?.cancel();
    this.#dueMs = nextMs;
    this.#timer = this.#clock.setTimer(Math.max(1, nextMs - nowMs), this.#look);
  }

  readonly #look = (): void => {
    const nowMs = this.#clock.monotonicMs();
    const { firstEventMs, idleMs, totalMs } = this.#patience;
    const silentMs = nowMs - this.#lastMs;
    this.#timer = undefined;
    if (nowMs - this.#startMs >= totalMs) this.#expired("end", nowMs - this.#startMs);
    else if (!this.#paused && this.#heard && silentMs >= idleMs) this.#expired("next event", silentMs);
    else if (!this.#paused && !this.#heard && silentMs >= firstEventMs) this.#expired("first event", silentMs);
    else this.#arm(nowMs);
  };
}
