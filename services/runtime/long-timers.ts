import type { Timer } from "./clock.ts";
import { Roster, type Rostered } from "./roster.ts";

/** A real timer, as Node has them. */
interface Alarm {
  ref(): unknown;
  unref(): unknown;
}

/** What it is built on. An alarm may ring a moment before its time. */
export interface LongTimersOptions<A extends Alarm> {
  readonly monotonicMs: () => number;
  readonly setAlarm: (delayMs: number, ring: () => void) => A;
  readonly clearAlarm: (alarm: A) => void;
}

/**
 * Timers of seconds and more, nearly all of which are cancelled: deadlines of requests. One real timer stands for all of
 * them, set for the first that is due; when it rings all are looked at. A timer then costs a place in a list.
 */
export class LongTimers<A extends Alarm> {
  readonly #options: LongTimersOptions<A>;
  readonly #all = new Roster<LongTimer>();
  readonly #ring = (): void => this.#rang();
  #alarm: A | undefined;
  #alarmMs = Number.POSITIVE_INFINITY;

  constructor(options: LongTimersOptions<A>) {
    this.#options = options;
  }

  /** Runs `fire` once, `delayMs` from now. A pending timer keeps the process alive. */
  set(delayMs: number, fire: () => void): Timer {
    const nowMs = this.#options.monotonicMs();
    const timer = new LongTimer(this.#forget, nowMs + delayMs, fire);
    this.#all.add(timer);
    if (timer.dueMs < this.#alarmMs) this.#set(timer.dueMs, nowMs);
    else if (this.#all.size === 1) this.#alarm?.ref();
    return timer;
  }

  readonly #forget = (timer: LongTimer): void => {
    this.#all.delete(timer);
    // The alarm stays set for whoever comes next, and rings in vain if nobody does.
    if (this.#all.size === 0) this.#alarm?.unref();
  };

  #set(dueMs: number, nowMs: number): void {
    if (this.#alarm) this.#options.clearAlarm(this.#alarm);
    this.#alarmMs = dueMs;
    this.#alarm = this.#options.setAlarm(Math.max(1, Math.ceil(dueMs - nowMs)), this.#ring);
  }

  #rang(): void {
    this.#alarm = undefined;
    this.#alarmMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#options.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    const due: LongTimer[] = [];
    for (const timer of this.#all) {
      if (timer.dueMs <= nowMs) due.push(timer);
      else nextMs = Math.min(nextMs, timer.dueMs);
    }
    // Set before anything runs: what runs may throw.
    if (nextMs < this.#alarmMs) this.#set(nextMs, nowMs);
    due.sort((a, b) => a.dueMs - b.dueMs);
    this.#run(due, 0);
  }

  #run(due: readonly LongTimer[], from: number): void {
    let at = from;
    try {
      while (at < due.length) due[at++]?.run();
    } finally {
      // One that threw ends the process, or is reported by whoever guards it: the others are due all the same.
      if (at < due.length) this.#options.setAlarm(1, () => this.#run(due, at));
    }
  }
}

/** One of them. */
class LongTimer implements Timer, Rostered {
  place = -1;
  readonly dueMs: number;
  readonly #forget: (timer: LongTimer) => void;
  #fire: (() => void) | undefined;

  constructor(forget: (timer: LongTimer) => void, dueMs: number, fire: () => void) {
    this.#forget = forget;
    this.dueMs = dueMs;
    this.#fire = fire;
  }

  cancel(): void {
    if (this.#fire === undefined) return;
    this.#fire = undefined;
    this.#forget(this);
  }

  run(): void {
    const fire = this.#fire;
    this.cancel();
    fire?.();
  }
}
