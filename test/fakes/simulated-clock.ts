import type { Clock, Timer } from "../../services/runtime/clock.ts";

interface PendingTimer {
  readonly dueMs: number;
  readonly fire: () => void;
}

/** Time that moves only when a test moves it. Timers fire inside {@link SimulatedClock.advance}, in order of due time. */
export class SimulatedClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  readonly #timers = new Set<PendingTimer>();

  /** @param startMs wall-clock milliseconds since the Unix epoch. */
  constructor(startMs: number = Date.UTC(2026, 0, 1)) {
    this.#wallMs = startMs;
  }

  nowMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const timer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), fire };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** How many timers wait: a test's proof that nothing was left behind. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Moves both clocks forward and fires every timer that falls due on the way, those set meanwhile included. */
  advance(byMs: number): void {
    const targetMs = this.#monotonicMs + byMs;
    while (this.#fireNext(targetMs));
    this.#moveTo(targetMs);
  }

  /**
   * Like {@link advance}, and lets promise callbacks run before each timer and at the end,
   * so that code which sleeps in a loop gets through all its rounds.
   */
  async advanceAsync(byMs: number): Promise<void> {
    const targetMs = this.#monotonicMs + byMs;
    do await turn();
    while (this.#fireNext(targetMs));
    this.#moveTo(targetMs);
  }

  /** Sets the wall clock alone, as an administrator or NTP would; durations are not touched. */
  jumpWallTo(wallMs: number): void {
    this.#wallMs = wallMs;
  }

  #fireNext(untilMs: number): boolean {
    const next = this.#earliest(untilMs);
    if (next === undefined) return false;
    this.#moveTo(next.dueMs);
    this.#timers.delete(next);
    next.fire();
    return true;
  }

  #moveTo(monotonicMs: number): void {
    this.#wallMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }

  #earliest(untilMs: number): PendingTimer | undefined {
    let earliest: PendingTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs <= untilMs && (earliest === undefined || timer.dueMs < earliest.dueMs)) earliest = timer;
    }
    return earliest;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
