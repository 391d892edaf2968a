import { expect, test } from "vitest";
import { Account } from "../../../services/router/quota/account.ts";
import { admitted, LeaseHolders, take } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";

test.each([
  ["requests", { rate: { per: "86400s" } }],
  ["requests at once", { dimension: "DIMENSION_CONCURRENT_REQUESTS", rate: null }],
])("a limit on %s that is lowered holds, whatever a node has leased", async (_what, spec) => {
  const node = new LeaseHolders([limitOf("l", { ...spec, count: "10000" })]);
  const holder = node.start("n");
  const admitted = async (asked: number): Promise<number> => {
    const taking = Array.from({ length: asked }, () => take(holder));
    await node.pass(100);
    // Who is refused waits for what the node is asked to give back.
    await node.recall("n");
    for (let second = 0; second < 3; second++) {
      await node.pass(900);
      await node.beat();
    }
    return (await Promise.all(taking)).filter(Boolean).length;
  };
  expect(await admitted(500)).toBe(500);
  expect(await admitted(50)).toBe(50);
  const before = await Promise.all(Array.from({ length: 5 }, () => take(holder)));
  expect(before).not.toContain(undefined);
  expect((await node.status())[0]?.leased).toBeGreaterThan(600n);
  await node.change([limitOf("l", { ...spec, count: "600" }, 2n)]);
  expect(await admitted(300)).toBe(45);
});

test("a limit that is restored from an older copy is asked for once, and drawn from again", async () => {
  const limit = (revision: bigint) => limitOf("l", { count: "10000", rate: { per: "86400s" } }, revision);
  const node = new LeaseHolders([limit(4n)]);
  const holder = node.start("n");
  await admitted(node, holder, 1);
  await node.change([limit(5n)]);
  await admitted(node, holder, 1);
  await node.change([limit(3n)]);
  await admitted(node, holder, 1);
  const before = { ...node.calls };
  expect(await admitted(node, holder, 10)).toBe(10);
  expect(node.calls.reserve).toBe(before.reserve);
  expect(node.calls.lease - before.lease).toBeLessThan(3);
});

test("a node goes by the terms that are restored", async () => {
  const limit = (onFailure: string, revision: bigint) =>
    limitOf("l", { count: "10000", rate: { per: "86400s" }, onFailure }, revision);
  const node = new LeaseHolders([limit("ON_FAILURE_OPEN", 5n)]);
  const holder = node.start("n");
  await admitted(node, holder, 1);
  await node.change([limit("ON_FAILURE_CLOSED", 3n)]);
  await admitted(node, holder, 1);
  node.cut = true;
  // Nothing is heard for longer than what is leased may be spent.
  await node.pass(11_000);
  expect(await admitted(node, holder, 3)).toBe(0);
});

test("of what was lent before a change nothing is drawn when the answer comes after it, whichever revision is higher", async () => {
  for (const revision of [3n, 6n]) {
    const limit = (count: string, at: bigint) => limitOf("l", { count, rate: { per: "86400s" } }, at);
    const node = new LeaseHolders([limit("10000", 5n)]);
    const holder = node.start("n");
    const late = Promise.withResolvers<void>();
    node.answers.lease = late.promise;
    const taking = [take(holder), take(holder), take(holder)];
    await node.pass(20);
    await node.change([limit("1", revision)]);
    late.resolve();
    delete node.answers.lease;
    await node.pass(500);
    expect((await Promise.all(taking)).filter(Boolean)).toHaveLength(1);
  }
});

test("of a renewal whose answer a change has overtaken nothing is drawn before the next one", async () => {
  const limit = (count: string, at: bigint) => limitOf("l", { count, rate: { per: "86400s" } }, at);
  const node = new LeaseHolders([limit("10000", 5n)]);
  const holder = node.start("n");
  const late = Promise.withResolvers<void>();
  let passed = await admitted(node, holder, 1);
  node.answers.lease = late.promise;
  const before = node.calls.lease;
  while (node.calls.lease === before) passed += await admitted(node, holder, 1);
  await node.change([limit(String(passed), 3n)]);
  late.resolve();
  await node.pass(20);
  expect(await admitted(node, holder, 2)).toBe(0);
});

test("of two answers that overtake each other the one to the later call is believed", () => {
  const account = new Account(limitOf("l", {}, 5n), 0);
  account.learn(limitOf("l", {}, 3n), 20);
  account.learn(limitOf("l", {}, 5n), 10);
  expect(account.terms.limit.revision).toBe(3n);
  account.changed(4n, 30);
  account.learn(limitOf("l", {}, 5n), 25);
  expect(account.terms.limit.revision).toBe(3n);
  account.learn(limitOf("l", {}, 4n), 25);
  expect(account.terms.limit.revision).toBe(4n);
});
