import { expect, test } from "vitest";
import { sleep, systemClock } from "../../services/runtime/clock.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

test("timers fire in the order in which they fall due, those set on the way included", () => {
  const clock = new SimulatedClock(1_000);
  const fired: [string, number][] = [];
  const note = (name: string) => fired.push([name, clock.nowMs()]);
  clock.setTimer(30, () => note("late"));
  clock.setTimer(10, () => {
    note("early");
    clock.setTimer(5, () => note("from early"));
  });
  clock.setTimer(0, () => note("at once"));
  clock.setTimer(20, () => note("cancelled")).cancel();
  clock.advance(29);
  expect(fired).toEqual([
    ["at once", 1_000],
    ["early", 1_010],
    ["from early", 1_015],
  ]);
  expect(clock.pendingTimers).toBe(1);
  clock.advance(1);
  expect(fired.at(-1)).toEqual(["late", 1_030]);
});

test("a jump of the wall clock moves no timer", () => {
  const clock = new SimulatedClock(1_000);
  let fired = false;
  clock.setTimer(10, () => {
    fired = true;
  });
  clock.jumpWallTo(1_000_000);
  expect([fired, clock.nowMs(), clock.monotonicMs()]).toEqual([false, 1_000_000, 0]);
});

test("a loop that sleeps gets through its rounds", async () => {
  const clock = new SimulatedClock();
  let rounds = 0;
  const loop = async () => {
    while (await sleep(clock, 100)) rounds += 1;
  };
  void loop();
  await clock.advanceAsync(1_000);
  expect(rounds).toBe(10);
});

test("a sleep ends early with its signal and leaves no timer", async () => {
  const clock = new SimulatedClock();
  const leaving = new AbortController();
  const slept = sleep(clock, 1_000, leaving.signal);
  leaving.abort();
  expect(await slept).toBe(false);
  expect(await sleep(clock, 1_000, leaving.signal)).toBe(false);
  expect(clock.pendingTimers).toBe(0);
});

test("the system clock does not fire a month's timer at once", async () => {
  let fired = false;
  const timer = systemClock.setTimer(40 * 24 * 3_600_000, () => {
    fired = true;
  });
  await sleep(systemClock, 20);
  timer.cancel();
  expect(fired).toBe(false);
});
