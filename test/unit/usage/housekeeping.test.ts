import { pino } from "pino";
import { expect, test } from "vitest";
import { keepOnce, startHousekeeping } from "../../../services/usage/housekeeping.ts";
import { createLanes } from "../../../services/usage/lanes.ts";
import { createLedgerTime } from "../../../services/usage/ledger-time.ts";
import { createNodeWords } from "../../../services/usage/node-words.ts";
import type { NodeWord } from "../../../services/usage/store.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const log = pino({ level: "silent" });
const hourMs = 3_600_000;

test("house is kept every hour, sooner after a failure, and not after the end", async () => {
  const clock = new SimulatedClock();
  const rounds: number[] = [];
  let away = false;
  const store = {
    nowMs: async () => clock.nowMs(),
    keep: async ({ nowMs }: { nowMs: number }) => {
      rounds.push(nowMs);
      if (away) throw new Error("away");
      return { made: [], lost: 0 };
    },
    drop: async () => [],
  };
  const startMs = clock.nowMs();
  const house = await startHousekeeping({ store, clock, time: createLedgerTime(store, clock), log, retentionMs: 1 });
  await clock.advanceAsync(2 * hourMs + 1);
  expect(rounds.map((ms) => ms - startMs)).toEqual([0, hourMs, 2 * hourMs]);
  away = true;
  await clock.advanceAsync(hourMs + 120_000);
  away = false;
  await clock.advanceAsync(60_000);
  expect(rounds.slice(3).map((ms) => ms - startMs - 3 * hourMs)).toEqual([0, 60_000, 120_000, 180_000]);
  await house[Symbol.asyncDispose]();
  await clock.advanceAsync(5 * hourMs);
  expect(rounds.length).toBe(7);
  expect(clock.pendingTimers).toBe(0);
});

test.each([
  ["the process's clock is ahead by years", 0, 10 * 365 * 24 * hourMs],
  ["the database's clock is ahead by years", 10 * 365 * 24 * hourMs, 0],
])("nothing is taken for old while %s", async (_name, storeAheadMs, aheadMs) => {
  const clock = new SimulatedClock();
  const trueMs = clock.nowMs();
  const kept: number[] = [];
  const store = {
    nowMs: async () => trueMs + storeAheadMs,
    keep: async ({ nowMs }: { nowMs: number }) => {
      kept.push(nowMs);
      return { made: [], lost: 0 };
    },
    drop: async () => [],
  };
  clock.jumpWallTo(trueMs + aheadMs);
  await keepOnce({ store, clock, time: createLedgerTime(store, clock), log, retentionMs: 1 });
  expect(kept).toEqual([trueMs]);
});

test("the ledger's time is the database's, and goes on between readings", async () => {
  const clock = new SimulatedClock();
  const time = createLedgerTime({ nowMs: async () => 5_000_000 }, clock);
  expect(time.nowMs()).toBe(clock.nowMs());
  await time.read();
  clock.advance(250);
  clock.jumpWallTo(7);
  expect(time.nowMs()).toBe(5_000_250);
});

test("nodes' words are kept once a second, each node's latest", async () => {
  const clock = new SimulatedClock(0);
  const kept: (readonly NodeWord[])[] = [];
  const words = createNodeWords({ hear: async (told) => void kept.push(told) }, { clock, log });
  words.heard({ nodeId: "a", heardMs: 1, completeMs: 10 });
  words.heard({ nodeId: "a", heardMs: 2, completeMs: 5 });
  words.heard({ nodeId: "b", heardMs: 3, completeMs: 7 });
  await clock.advanceAsync(999);
  expect(kept).toEqual([]);
  await clock.advanceAsync(1);
  expect(kept).toEqual([
    [
      { nodeId: "a", heardMs: 2, completeMs: 10 },
      { nodeId: "b", heardMs: 3, completeMs: 7 },
    ],
  ]);
  words.heard({ nodeId: "b", heardMs: 4, completeMs: 8 });
  await words[Symbol.asyncDispose]();
  expect(kept[1]).toEqual([{ nodeId: "b", heardMs: 4, completeMs: 8 }]);
  expect(clock.pendingTimers).toBe(0);
});

test("a word that cannot be kept harms nobody", async () => {
  const clock = new SimulatedClock(0);
  const words = createNodeWords({ hear: () => Promise.reject(new Error("away")) }, { clock, log });
  words.heard({ nodeId: "a", heardMs: 1, completeMs: 10 });
  await clock.advanceAsync(1_000);
  await words[Symbol.asyncDispose]();
  expect(clock.pendingTimers).toBe(0);
});

test("lanes run so much at a time, let so much wait, and turn away the rest", async () => {
  const lanes = createLanes({ lanes: 2, waitingMax: 1 });
  const never = new AbortController().signal;
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const [a, b, c] = ["a", "b", "c"].map((name) => lanes.run(work(name), never));
  expect(lanes.run(work("d"), never)).toBeUndefined();
  await turn();
  expect(begun).toEqual(["a", "b"]);
  ends.get("a")?.();
  expect(await a).toBe("a");
  await turn();
  expect(begun).toEqual(["a", "b", "c"]);
  const given = new AbortController();
  const late = lanes.run(work("e"), given.signal);
  given.abort(new Error("given up"));
  ends.get("b")?.();
  ends.get("c")?.();
  expect(await Promise.all([b, c])).toEqual(["b", "c"]);
  await expect(late).rejects.toThrow("given up");
  expect(begun).not.toContain("e");
  await turn();
  expect(await lanes.run(async () => "again", never)).toBe("again");
});
