import { LongTimers } from "./long-timers.ts";

/** A timer that was set and may be cancelled; cancelling one that fired, or cancelling twice, does nothing. */
export interface Timer {
  cancel(): void;
}

/** Where time comes from. Code that waits or measures takes one, so that tests can move time by hand. */
export interface Clock {
  /** Milliseconds since the Unix epoch. May jump when the machine's time is set. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start; never goes back. For durations and deadlines. May have a fraction. */
  monotonicMs(): number;
  /** Runs `fire` once after `delayMs` (0 or less: as soon as possible). A pending timer keeps the process alive. */
  setTimer(delayMs: number, fire: () => void): Timer;
}

// Node fires a longer setTimeout at once instead of late.
const longestTimeoutMs = 2 ** 31 - 1;

/** From here on timers are mostly deadlines, which are cancelled. */
const longMs = 1_000;

const monotonicMs = (): number => performance.now();
const longTimers = new LongTimers({
  monotonicMs,
  setAlarm: (delayMs, ring) => setTimeout(ring, delayMs),
  clearAlarm: (alarm) => clearTimeout(alarm),
});

/** The machine's own time. Delays above 24.8 days fire after 24.8 days. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs,
  setTimer(delayMs, fire) {
    if (delayMs >= longMs) return longTimers.set(Math.min(delayMs, longestTimeoutMs), fire);
    const timeout = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(timeout) };
  },
};

/**
 * Waits `delayMs`, or less when `signal` aborts.
 *
 * @returns true when the time passed, false when the signal ended the wait.
 */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<boolean> {
  if (signal?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const onAbort = () => {
      timer.cancel();
      resolve(false);
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve(true);
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
