import { expect, test } from "vitest";
import { LongTimers } from "../../services/runtime/long-timers.ts";

/** Alarms that ring when a test lets time pass; `early` of them ring a millisecond before their time. */
class Alarms {
  nowMs = 0;
  set = 0;
  early = false;
  readonly pending = new Set<{ atMs: number; ring: () => void; holds: boolean; ref(): void; unref(): void }>();
  readonly timers = new LongTimers({
    monotonicMs: () => this.nowMs,
    setAlarm: (delayMs, ring) => {
      this.set += 1;
      const alarm = {
        atMs: this.nowMs + delayMs - (this.early && delayMs > 1 ? 1 : 0),
        ring,
        holds: true,
        ref: () => void (alarm.holds = true),
        unref: () => void (alarm.holds = false),
      };
      this.pending.add(alarm);
      return alarm;
    },
    clearAlarm: (alarm) => void this.pending.delete(alarm),
  });

  /** Whether the process would be kept alive. */
  get holds(): boolean {
    return [...this.pending].some(({ holds }) => holds);
  }

  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    while (this.nowMs < endMs) {
      this.nowMs += 0.5;
      for (const alarm of this.pending) {
        if (this.nowMs < alarm.atMs) continue;
        this.pending.delete(alarm);
        alarm.ring();
      }
    }
  }
}

test("each fires at its time, in order, with one alarm for all", () => {
  const alarms = new Alarms();
  const fired: string[] = [];
  const note = (name: string) => () => fired.push(`${name} ${Math.floor(alarms.nowMs)}`);
  alarms.timers.set(3_000, note("c"));
  alarms.timers.set(1_000, note("a"));
  alarms.timers.set(2_000.4, note("b"));
  expect(alarms.pending.size).toBe(1);
  alarms.pass(5_000);
  expect(fired).toEqual(["a 1000", "b 2001", "c 3000"]);
  expect(alarms.holds).toBe(false);
});

test("none fires before its time, where an alarm rings early", () => {
  const alarms = new Alarms();
  alarms.early = true;
  let firedMs = 0;
  alarms.timers.set(1_000, () => (firedMs = alarms.nowMs));
  alarms.pass(2_000);
  expect(firedMs).toBeGreaterThanOrEqual(1_000);
  expect(firedMs).toBeLessThan(1_002);
});

test("those that come and are cancelled set no alarm of their own", () => {
  const alarms = new Alarms();
  for (let at = 0; at < 1_000; at++) {
    const timers = [alarms.timers.set(600_000, failed), alarms.timers.set(600_000, failed)];
    alarms.pass(1);
    for (const timer of timers) timer.cancel();
  }
  expect(alarms.set).toBe(1);
  expect(alarms.holds).toBe(false);
  alarms.pass(700_000);
  expect(alarms.pending.size).toBe(0);
});

test("a process is held while one waits, also one that came after the last was cancelled", () => {
  const alarms = new Alarms();
  alarms.timers.set(2_000, failed).cancel();
  expect(alarms.holds).toBe(false);
  let fired = 0;
  const timer = alarms.timers.set(5_000, () => fired++);
  expect(alarms.holds).toBe(true);
  alarms.pass(6_000);
  timer.cancel();
  expect([fired, alarms.holds]).toEqual([1, false]);
});

test("cancelling twice, or what has fired, does nothing; one may cancel another that is due with it", () => {
  const alarms = new Alarms();
  const fired: string[] = [];
  const second = alarms.timers.set(1_000.2, () => fired.push("second"));
  const first = alarms.timers.set(1_000.1, () => {
    fired.push("first");
    second.cancel();
    second.cancel();
    alarms.timers.set(1_000, () => fired.push("third"));
  });
  alarms.pass(1_500);
  first.cancel();
  alarms.pass(1_000);
  expect(fired).toEqual(["first", "third"]);
});

test("one that throws keeps none of the others from firing", () => {
  const alarms = new Alarms();
  const fired: string[] = [];
  alarms.timers.set(1_000.1, () => {
    throw new Error("broken");
  });
  alarms.timers.set(1_000.2, () => fired.push("other"));
  alarms.timers.set(2_000, () => fired.push("later"));
  expect(() => alarms.pass(1_001)).toThrow("broken");
  alarms.pass(2_000);
  expect(fired).toEqual(["other", "later"]);
});

function failed(): never {
  throw new Error("it was cancelled");
}
