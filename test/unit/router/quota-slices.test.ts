import { expect, test } from "vitest";
import { ask, LeaseHolders } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";

const budget = { dimension: "DIMENSION_OUTPUT_TOKENS", rate: null, budget: { period: "CALENDAR_PERIOD_DAY" } };
/** An answer whose length nobody stated. */
const unstated = { expected: { inputTokens: 10, outputTokens: 256 }, least: { inputTokens: 10, outputTokens: 0 } };

test("an answer that began on a lease ends where the budget does, however slowly it grows", async () => {
  const node = new LeaseHolders([limitOf("l", { ...budget, count: "1500" })]);
  const holder = node.start("n");
  const asked = ask(holder, "m", unstated);
  await node.pass(20);
  const grant = await asked;
  if (grant instanceof WeirError) throw grant;
  expect(holder.reserved).toBe(0);
  // A slice of it takes longer than a reservation lives without a word.
  let answer = 0;
  for (let goesOn = true; goesOn && answer < 3_000; answer += goesOn ? 10 : 0) {
    await node.pass(800);
    goesOn = grant.goesOn(answer);
  }
  expect(answer).toBe(1_500);
  expect((await node.status())[0]).toMatchObject({ remaining: 0n });
  // It was less than was drawn, as it turns out.
  grant.settle({ inputTokens: 10, outputTokens: 1_490 });
  await node.pass(10_000);
  expect((await node.status())[0]).toMatchObject({ used: 1_490n, reserved: 0n, leased: 0n, remaining: 10n });
});

const losses = {
  "the store starts anew": (node: LeaseHolders) => node.restartStore(),
  "the store hears nothing of it for longer than it keeps that": async (node: LeaseHolders) => {
    node.cut = true;
    await node.pass(16_000);
    node.cut = false;
  },
};

test.each(Object.entries(losses))("an answer goes on to the end of its budget after %s", async (_what, happens) => {
  // Too little to be shared: the request asks for each slice.
  const node = new LeaseHolders([limitOf("l", { ...budget, count: "1000" })]);
  const holder = node.start("n");
  const asked = ask(holder, "m", unstated);
  await node.pass(20);
  const grant = await asked;
  if (grant instanceof WeirError) throw grant;
  expect(holder.reserved).toBe(1);
  grant.goesOn(120);
  await node.pass(100);
  await happens(node);
  let answer = 130;
  for (let goesOn = true; goesOn && answer < 2_000; answer += goesOn ? 10 : 0) {
    goesOn = grant.goesOn(answer);
    await node.pass(20);
  }
  expect(answer).toBe(1_000);
  grant.settle({ inputTokens: 10, outputTokens: 1_000 });
  await node.pass(100);
  expect((await node.status())[0]).toMatchObject({ used: 1_000n, reserved: 0n, remaining: 0n });
});

test("a place that others took meanwhile cuts no answer that its budget would let go on", async () => {
  const place = limitOf("places", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "1", rate: null });
  const node = new LeaseHolders([limitOf("l", { ...budget, count: "1000" }), place]);
  const holder = node.start("n");
  const asked = ask(holder, "m", unstated);
  await node.pass(20);
  const grant = await asked;
  if (grant instanceof WeirError) throw grant;
  await node.restartStore();
  const other = ask(node.start("other"));
  await node.pass(20);
  const taken = await other;
  if (taken instanceof WeirError) throw taken;
  for (let answer = 0; answer < 800; answer += 10) {
    expect(grant.goesOn(answer)).toBe(true);
    await node.pass(20);
  }
});

test("what an answer grew by while nobody could be asked takes nothing from what others have set aside", async () => {
  const open = { ...budget, count: "4000", onFailure: "ON_FAILURE_OPEN" };
  const node = new LeaseHolders([limitOf("l", open)]);
  const holder = node.start("n");
  const asked = [ask(holder, "m", unstated), ask(holder, "m", unstated)];
  await node.pass(20);
  const [first, second] = await Promise.all(asked);
  if (first === undefined || first instanceof WeirError) throw new Error("it was refused");
  if (second === undefined || second instanceof WeirError) throw new Error("it was refused");
  expect(holder.reserved).toBe(0);
  node.cut = true;
  for (let answer = 0; answer < 2_000; answer += 10) {
    expect(first.goesOn(answer)).toBe(true);
    await node.pass(10);
  }
  first.settle({ inputTokens: 10, outputTokens: 2_000 });
  node.cut = false;
  await node.beat();
  await node.pass(7_000);
  expect((await node.status())[0]).toMatchObject({ used: 2_000n, leased: 256n });
  second.settle({ inputTokens: 10, outputTokens: 100 });
  await node.pass(7_000);
  expect((await node.status())[0]).toMatchObject({ used: 2_100n, leased: 0n });
});

test("a slice that fails after the answer has ended sets nothing aside", async () => {
  const node = new LeaseHolders([limitOf("l", { ...budget, count: "1500", onFailure: "ON_FAILURE_OPEN" })]);
  const holder = node.start("n");
  const asked = ask(holder, "m", unstated);
  await node.pass(20);
  const grant = await asked;
  if (grant instanceof WeirError) throw grant;
  expect(holder.reserved).toBe(0);
  const late = Promise.withResolvers<void>();
  node.answers.reserve = late.promise;
  let answer = 0;
  // The lease has no more, and the first slice beyond it is asked for.
  while (node.calls.reserve === 0) {
    answer += 10;
    expect(grant.goesOn(answer)).toBe(true);
    await node.pass(20);
  }
  grant.settle({ inputTokens: 10, outputTokens: answer });
  node.mute = true;
  late.resolve();
  await node.pass(20);
  node.mute = false;
  await node.pass(10_000);
  expect((await node.status())[0]).toMatchObject({ used: BigInt(answer), reserved: 0n, leased: 0n });
  // Nothing is left to tell.
  const told = node.calls.returnLease;
  await node.pass(10_000);
  expect(node.calls.returnLease).toBe(told);
});
