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
  const startMs = clock.monotonicMs();
  let lastMs = startMs;
  let heard = false;
  let paused = false;
  let timer: Timer | undefined;

  // One timer, which looks at the last touch when it fires: to set it anew for each frame would cost more than the frame.
  function arm(): void {
    timer?.cancel();
    const nowMs = clock.monotonicMs();
    const endMs = startMs + patience.totalMs;
    const eventMs = paused ? endMs : lastMs + (heard ? patience.idleMs : patience.firstEventMs);
    timer = clock.setTimer(Math.max(1, Math.min(endMs, eventMs) - nowMs), look);
  }

  function look(): void {
    const nowMs = clock.monotonicMs();
    if (nowMs - startMs >= patience.totalMs) expired("end", nowMs - startMs);
    else if (!paused && heard && nowMs - lastMs >= patience.idleMs) expired("next event", nowMs - lastMs);
    else if (!paused && !heard && nowMs - lastMs >= patience.firstEventMs) expired("first event", nowMs - lastMs);
    else arm();
  }

  arm();
  return {
    touch() {
      lastMs = clock.monotonicMs();
      if (heard) return;
      heard = true;
      arm();
    },
    pause() {
      paused = true;
      arm();
    },
    resume() {
      paused = false;
      lastMs = clock.monotonicMs();
      arm();
    },
    stop() {
      timer?.cancel();
    },
  };
}
