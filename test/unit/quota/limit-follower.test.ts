import { pino } from "pino";
import { expect, test } from "vitest";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { followLimits } from "../../../services/quota/limit-follower.ts";
import { FakeLimitStore } from "../../fakes/limits.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

async function follow() {
  const store = new FakeLimitStore();
  store.put("first");
  const clock = new SimulatedClock();
  const follower = await followLimits({ store, clock, log: pino({ level: "silent" }) });
  const heard: string[] = [];
  follower.onChange(({ limit, deleted }) => void heard.push(`${deleted ? "-" : "+"}${limit.id}`));
  const ids = () => Array.from(follower.book.all(), ({ id }) => id);
  return { store, clock, follower, heard, ids };
}

test("limits are there from the start on, and changes are heard within 500 ms", async () => {
  const { store, clock, follower, heard, ids } = await follow();
  expect(ids()).toEqual(["first"]);
  store.put("second");
  store.remove("first");
  await clock.advanceAsync(500);
  expect(ids()).toEqual(["second"]);
  expect(heard.toSorted()).toEqual(["+second", "-first"]);
  expect(follower.book.revision).toBe(store.revision);
  await follower[Symbol.asyncDispose]();
  expect(clock.pendingTimers).toBe(0);
});

test("an installation without the store does not start by an empty book", async () => {
  const store = new FakeLimitStore();
  store.away = new Error("away");
  await expect(followLimits({ store, clock: new SimulatedClock(), log: pino({ level: "silent" }) })).rejects.toThrow(
    "away",
  );
});

test("while the store is away the book stays, its age grows, and afterwards nothing was missed", async () => {
  await using running = await follow().then((all) => ({
    ...all,
    [Symbol.asyncDispose]: () => all.follower[Symbol.asyncDispose](),
  }));
  const { store, clock, follower, heard, ids } = running;
  store.away = new Error("away");
  store.put("second");
  await clock.advanceAsync(60_000);
  expect(ids()).toEqual(["first"]);
  expect(follower.ageMs()).toBe(60_000);
  await expect(follower.refresh()).rejects.toThrow("away");
  store.away = undefined;
  await clock.advanceAsync(500);
  expect([ids(), heard, follower.ageMs()]).toEqual([["first", "second"], ["+second"], 0]);
});

test("a refresh has what was written before it, also while another one runs", async () => {
  await using running = await follow().then((all) => ({
    ...all,
    [Symbol.asyncDispose]: () => all.follower[Symbol.asyncDispose](),
  }));
  const { store, follower, ids } = running;
  const before = follower.refresh();
  store.put("second");
  const { readings } = store;
  const after = Array.from({ length: 20 }, () => follower.refresh());
  await Promise.all([before, ...after]);
  expect(ids()).toEqual(["first", "second"]);
  expect(store.readings - readings).toBe(1);
});

test("a store that was restored from an older copy is believed", async () => {
  await using running = await follow().then((all) => ({
    ...all,
    [Symbol.asyncDispose]: () => all.follower[Symbol.asyncDispose](),
  }));
  const { store, clock, follower, heard, ids } = running;
  store.put("second");
  await follower.refresh();
  store.versions.delete("second");
  store.revision = 2n;
  await clock.advanceAsync(500);
  expect([ids(), follower.book.revision]).toEqual([["first"], 2n]);
  expect(heard).toEqual(["+second", "-second", "+first"]);
});

test("more limits than one reading holds are all read", async () => {
  const store = new FakeLimitStore();
  for (let index = 0; index < 2_500; index++) store.put(`limit-${index}`);
  store.remove("limit-7");
  await using follower = await followLimits({ store, clock: new SimulatedClock(), log: pino({ level: "silent" }) });
  expect(follower.book.size).toBe(2_499);
  const consumer = { orgId: "acme", projectId: "acme-one", userId: "", keyId: "" };
  expect(follower.book.applying({ consumer, model: "", operation: Operation.UNSPECIFIED })).toHaveLength(2_499);
  expect(follower.book.revision).toBe(store.revision);
});
