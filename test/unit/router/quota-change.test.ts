import { expect, test } from "vitest";
import { LeaseHolders, take } from "../../fakes/lease-holders.ts";
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
