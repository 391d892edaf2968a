import { clone, create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { Dimension, LimitSchema } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { UsageRecordSchema } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { HeldGrant } from "../../../services/router/quota/grant.ts";
import { admitted, LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";

const limit = create(LimitSchema, {
  id: "l",
  revision: 1n,
  spec: {
    dimension: Dimension.REQUESTS,
    ceiling: { case: "count", value: 10n },
    window: { case: "rate", value: { per: { seconds: 3_600n } } },
  },
});

test("what a node spent before it was killed is not given to it again, and the rest comes back", async () => {
  const node = new LeaseHolders([limit]);
  expect(await admitted(node, node.start("n.1"), 4)).toBe(4);
  const second = node.start("n.2");
  const before = await admitted(node, second, 20);
  expect(before).toBeLessThanOrEqual(6);
  await node.beat();
  expect(before + (await admitted(node, second, 20))).toBe(6);
});

test("what a dead process had noted is kept and told until the store has heard it", async () => {
  const node = new LeaseHolders([limit]);
  await admitted(node, node.start("n.1"), 4);
  const second = node.start("n.2");
  node.cut = true;
  await node.beat();
  // The segment with its notes goes: what was not told is noted again, for a third process.
  node.notes.length = 0;
  second.repeatNotes();
  const third = node.start("n.3");
  node.cut = false;
  node.returned.length = 0;
  await node.beat();
  await node.beat();
  expect(node.returned).toHaveLength(1);
  expect(node.returned[0]).toMatch(/^n\.1 /);
  expect(await admitted(node, third, 20)).toBe(6);
});

test("what a dead process had asked for and left running counts if an engine had heard of it", async () => {
  // Too small to share: each request asks.
  const small = clone(LimitSchema, limit);
  if (small.spec) small.spec.ceiling = { case: "count", value: 3n };
  const node = new LeaseHolders([small]);
  const first = node.start("n.1");
  const grants = [take(first), take(first)];
  await node.pass(50);
  const [heard, unheard] = await Promise.all(grants);
  if (!(heard instanceof HeldGrant && unheard instanceof HeldGrant)) throw new Error("they are not held");
  expect([heard.reserved, unheard.reserved]).toEqual([true, true]);
  const lost = (requestId: string, dispatched: boolean) =>
    create(UsageRecordSchema, {
      requestId,
      orgId: "o",
      projectId: "p",
      keyId: "k",
      model: "m",
      tokens: { promptTokens: 1n },
      attempts: dispatched ? [{ replicaId: "r" }] : [],
    });
  const second = node.start("n.2", [lost(heard.requestId, true), lost(unheard.requestId, false)]);
  await node.pass(50);
  expect(await admitted(node, second, 5)).toBe(2);
});

test.each([
  ["tells what it spent, and leaves no note", false, 0],
  ["leaves its notes to the next process when the store can't be reached", true, 1],
])("a process that stops %s", async (_, cut, left) => {
  const node = new LeaseHolders([limit]);
  const first = node.start("n.1");
  for (let request = 0; request < 4; request++) (await take(first))?.settle({ inputTokens: 1, outputTokens: 1 });
  node.cut = cut;
  const stopped = first[Symbol.asyncDispose]();
  await node.pass(10_000);
  await stopped;
  expect(new Set(node.notes.map((note) => note.toString("latin1", 16))).size).toBe(left);
  node.cut = false;
  const second = node.start("n.2");
  await node.beat();
  expect(await admitted(node, second, 20)).toBe(6);
});

test("notes that can't be read are left out", async () => {
  const node = new LeaseHolders([limit]);
  node.notes.push(Buffer.alloc(0), Buffer.alloc(16), Buffer.alloc(40, 0xff), Buffer.from("0123456789abcdef no-holder"));
  const holder = node.start("n.2");
  await node.beat();
  expect(node.returned).toEqual([]);
  expect(await admitted(node, holder, 20)).toBe(10);
});

/** Of a day, so that nothing refills: how much of it is used. */
async function usedOf(node: LeaseHolders): Promise<bigint[]> {
  await node.pass(7_000);
  return (await node.status()).map(({ used }) => used);
}
const aDay = limitOf("l", { count: "40", rate: { per: "86400s" } });

test("what was drawn for a request that was refused is not told as spent by the next process", async () => {
  const place = limitOf("place", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "1", rate: null });
  const node = new LeaseHolders([aDay, place]);
  const first = node.start("n.1");
  expect(await admitted(node, first, 1)).toBe(1);
  const taking = take(node.start("other"));
  await node.pass(300);
  const other = await taking;
  expect(other).toBeDefined();
  expect(await admitted(node, first, 1)).toBe(0);
  // The lease is given back, and is no more.
  await node.pass(9_000);
  // The other one is alive.
  const own = node.notes.filter((note) => !note.includes("other "));
  node.notes.splice(0, node.notes.length, ...own);
  node.start("n.2");
  await node.beat();
  expect((await node.status())[0]).toMatchObject({ used: 1n });
  other?.release();
});

test("what an answer had grown by on a lease is told by the next process, also if nothing else was drawn", async () => {
  const budget = { dimension: "DIMENSION_OUTPUT_TOKENS", rate: null, budget: { period: "CALENDAR_PERIOD_DAY" } };
  const node = new LeaseHolders([limitOf("l", { ...budget, count: "100000" })]);
  const holder = node.start("n.1");
  const unstated = { expected: { inputTokens: 10, outputTokens: 256 }, least: { inputTokens: 10, outputTokens: 0 } };
  const taking = take(holder, "m", unstated);
  await node.pass(50);
  const grant = await taking;
  for (let answer = 0; answer <= 2_000; answer += 10) {
    expect(grant?.goesOn(answer)).toBe(true);
    await node.pass(1);
  }
  node.start("n.2");
  await node.beat();
  expect(Number((await node.status())[0]?.used)).toBeGreaterThanOrEqual(2_000);
});

test("what runs when the store starts anew counts there, also if it ends before there is another lease", async () => {
  const node = new LeaseHolders([aDay]);
  const holder = node.start("n");
  const taking = [take(holder), take(holder)];
  await node.pass(50);
  const [first, second] = await Promise.all(taking);
  await node.restartStore();
  await node.beat();
  first?.settle({ inputTokens: 1, outputTokens: 1 });
  expect(await admitted(node, holder, 1)).toBe(1);
  second?.settle({ inputTokens: 1, outputTokens: 1 });
  expect(await usedOf(node)).toEqual([3n]);
});

test("a lease that the store makes behind its snapshot is not taken for one that it has lost", async () => {
  const node = new LeaseHolders([aDay]);
  const holder = node.start("n");
  await node.beat();
  const late = Promise.withResolvers<void>();
  node.answers.lease = late.promise;
  const taking = take(holder);
  await node.pass(5);
  await node.reopen();
  late.resolve();
  await node.pass(5);
  (await taking)?.settle({ inputTokens: 1, outputTokens: 1 });
  await node.beat();
  expect(await admitted(node, holder, 1)).toBe(1);
  expect(await usedOf(node)).toEqual([2n]);
});
