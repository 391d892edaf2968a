import type { Clock, Timer } from "../runtime/clock.ts";
import type { Counter, StoreTime } from "./counter.ts";
import type { LeaseAccount, LeaseBook } from "./leases.ts";

/** A limit that has not what is asked of it. */
export interface Blocked {
  readonly counter: Counter;
  /** What is missing of, beyond what the asker has. */
  readonly units: bigint;
}

/** Something that is drawn from several limits: from all or from none. */
export interface Attempt<T> {
  /** Draws, or tells which limits are in the way, having drawn nothing. */
  take(): readonly Blocked[];
  granted(): T;
  /** It waits no longer. */
  refused(blocked: readonly Blocked[]): T;
  /** How long it waits where only slots are in the way. */
  readonly waitMaxMs: number;
}

export interface AdmissionOptions {
  readonly clock: Clock;
  readonly time: StoreTime;
  readonly leases: LeaseBook;
  readonly recallMs: number;
  readonly waitersMax: number;
  /** Brings the store's time and what goes by it up to date, and serves who waits. */
  readonly tick: () => void;
  readonly recall: (lease: LeaseAccount) => void;
}

interface Waiter<T> {
  readonly attempt: Attempt<T>;
  readonly startedMs: number;
  resolve(answer: T): void;
  readonly counters: Set<Counter>;
  blocked: readonly Blocked[];
  timer: Timer | undefined;
  timerMs: number;
}

/**
 * Grants, waits or refuses. An attempt that finds limits in its way **waits** where that may help: for leases of these
 * limits, which it recalls, as long as their credit could be enough; and for slots, in the order of arrival. It is tried
 * again whenever something comes back to one of its limits. It is **refused** when waiting can't help any more or has
 * lasted long enough. A lease whose node did not answer a recall in time is not waited for again until it reports.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #waiting = new Map<Counter, Set<Waiter<unknown>>>();
  readonly #woken = new Set<Counter>();
  readonly #recalls: LeaseAccount[] = [];
  #waiters = 0;
  #busy = false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  get waiters(): number {
    return this.#waiters;
  }

  /** Something came back to a counter, or was reported of it. Who waits for it is served by `serve`. */
  wake(counter: Counter): void {
    if (this.#waiters > 0 && this.#waiting.has(counter)) this.#woken.add(counter);
  }

  /** Answers an attempt at once, or when waiting is over. */
  admit<T>(attempt: Attempt<T>, onWait?: (waiter: { cancel: () => void }) => void): Promise<T> {
    const blocked = attempt.take();
    if (blocked.length === 0) return Promise.resolve(attempt.granted());
    const startedMs = this.#options.time.nowMs;
    const untilMs = this.#waitUntil(blocked, startedMs, attempt.waitMaxMs);
    if (untilMs <= startedMs || this.#waiters >= this.#options.waitersMax) {
      return Promise.resolve(attempt.refused(blocked));
    }
    return new Promise<T>((resolve) => {
      const waiter: Waiter<T> = {
        attempt,
        startedMs,
        resolve,
        counters: new Set(),
        blocked,
        timer: undefined,
        timerMs: 0,
      };
      this.#waiters += 1;
      onWait?.({ cancel: () => this.#finish(waiter, attempt.refused(waiter.blocked)) });
      this.#wait(waiter, blocked, untilMs);
      this.#sendRecalls();
    });
  }

  /** Asks a lease back that nobody waits for, when the store is at rest. */
  askBack(lease: LeaseAccount): void {
    this.#recalls.push(lease);
  }

  /** Tries those again that wait for counters that were woken. */
  serve(): void {
    if (this.#busy) return;
    if (this.#woken.size > 0) this.#serveWoken();
    this.#sendRecalls();
  }

  #serveWoken(): void {
    this.#busy = true;
    try {
      for (const counter of this.#woken) {
        this.#woken.delete(counter);
        for (const waiter of Array.from(this.#waiting.get(counter) ?? [])) {
          // Whoever came first is served first; when the last slot is gone, nobody behind needs to be asked.
          if (counter.kind === "slots" && !counter.gone && !counter.fits(1n)) break;
          if (waiter.counters.has(counter)) this.#retry(waiter);
        }
      }
    } finally {
      this.#busy = false;
    }
  }

  #retry<T>(waiter: Waiter<T>): void {
    const blocked = waiter.attempt.take();
    if (blocked.length === 0) return this.#finish(waiter, waiter.attempt.granted());
    const untilMs = this.#waitUntil(blocked, waiter.startedMs, waiter.attempt.waitMaxMs);
    if (untilMs <= this.#options.time.nowMs) return this.#finish(waiter, waiter.attempt.refused(blocked));
    this.#wait(waiter, blocked, untilMs);
  }

  #wait<T>(waiter: Waiter<T>, blocked: readonly Blocked[], untilMs: number): void {
    waiter.blocked = blocked;
    for (const by of blocked) this.#recall(by, waiter.startedMs);
    const counters = new Set(blocked.map(({ counter }) => counter));
    // Who goes on waiting for a counter keeps the place in its queue.
    for (const counter of waiter.counters) if (!counters.has(counter)) this.#leave(waiter, counter);
    for (const counter of counters) this.#join(waiter, counter);
    if (waiter.timer !== undefined && waiter.timerMs === untilMs) return;
    waiter.timer?.cancel();
    waiter.timerMs = untilMs;
    waiter.timer = this.#options.clock.setTimer(untilMs - this.#options.time.nowMs, () => {
      waiter.timer = undefined;
      this.#options.tick();
      if (waiter.counters.size > 0) this.#retry(waiter);
      this.#sendRecalls();
    });
  }

  #join(waiter: Waiter<never> | Waiter<unknown>, counter: Counter): void {
    waiter.counters.add(counter);
    const queue = this.#waiting.get(counter) ?? new Set();
    queue.add(waiter as Waiter<unknown>);
    this.#waiting.set(counter, queue);
  }

  #leave(waiter: Waiter<never> | Waiter<unknown>, counter: Counter): void {
    waiter.counters.delete(counter);
    const queue = this.#waiting.get(counter);
    queue?.delete(waiter as Waiter<unknown>);
    if (queue?.size === 0) this.#waiting.delete(counter);
  }

  #finish<T>(waiter: Waiter<T>, answer: T): void {
    if (waiter.counters.size === 0) return;
    for (const counter of waiter.counters) this.#leave(waiter as Waiter<unknown>, counter);
    waiter.timer?.cancel();
    this.#waiters -= 1;
    waiter.resolve(answer);
  }

  /** Until when waiting may help against all that is in the way. */
  #waitUntil(blocked: readonly Blocked[], startedMs: number, waitMaxMs: number): number {
    let untilMs = Number.POSITIVE_INFINITY;
    for (const by of blocked) {
      const { counter, units } = by;
      if (units > counter.capacity) return Number.NEGATIVE_INFINITY;
      const slotsMs = counter.kind === "slots" ? startedMs + waitMaxMs : Number.NEGATIVE_INFINITY;
      untilMs = Math.min(untilMs, Math.max(slotsMs, this.#returnsUntil(by, startedMs)));
    }
    return untilMs;
  }

  /** Until when to wait for leases that could make up for what is missing. */
  #returnsUntil(blocked: Blocked, startedMs: number): number {
    const { time, recallMs } = this.#options;
    let untilMs = Number.NEGATIVE_INFINITY;
    for (const { recalledMs } of this.#helpful(blocked, startedMs)) {
      untilMs = Math.max(untilMs, (recalledMs ?? time.nowMs) + recallMs);
    }
    return Math.min(untilMs, startedMs + recallMs);
  }

  /** Asks them back, now that somebody waits for them: who is refused at once for another limit needs none. */
  #recall(blocked: Blocked, startedMs: number): void {
    for (const lease of this.#helpful(blocked, startedMs)) {
      if (lease.recalledMs !== undefined) continue;
      lease.recalledMs = this.#options.time.nowMs;
      this.#recalls.push(lease);
    }
  }

  /** The leases that could make up for what is missing; none if all of them are not enough. */
  #helpful({ counter, units }: Blocked, startedMs: number): readonly LeaseAccount[] {
    const helpful: LeaseAccount[] = [];
    let back = 0n;
    for (const lease of this.#options.leases.lentOf(counter)) {
      if (!this.#mayReturn(lease, startedMs)) continue;
      helpful.push(lease);
      back += lease.amount - lease.spent;
    }
    return back < units - counter.remaining ? [] : helpful;
  }

  /** Whether a lease may hold something idle: by its last report, or because that is older than the attempt. */
  #mayReturn(lease: LeaseAccount, startedMs: number): boolean {
    const { leases, time, recallMs } = this.#options;
    if (lease.window !== lease.counter.window || lease.amount <= lease.spent) return false;
    if (lease.recalledMs !== undefined && time.nowMs >= lease.recalledMs + recallMs) return false;
    return leases.creditOf(lease) > 0n || lease.reportedMs < startedMs;
  }

  /** Listeners may call the store back at once: they are told when it is at rest. */
  #sendRecalls(): void {
    for (let lease = this.#recalls.shift(); lease !== undefined; lease = this.#recalls.shift()) {
      this.#options.recall(lease);
    }
  }
}
