import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCampaign } from "./campaign/campaign.ts";
import { problemsIn, summaryOf, tableOf } from "./campaign/report.ts";
import type { Fault } from "./campaign/strikes.ts";
import { type Shape, startWorld, type World } from "./campaign/world.ts";

// The short form of `npm run test:faults`: each fault some times, in each shape that knows it. Limits are asked how they
// stand where that says most, for it takes a while.

const plans: Readonly<Record<Shape, readonly (readonly [Fault, number, number, boolean])[]>> = {
  one: [
    ["gateway killed", 3, 0, false],
    ["postgres killed", 1, 0, true],
    ["postgres cut", 1, 2_000, false],
  ],
  two: [
    ["gateway killed", 2, 0, true],
    ["control killed", 1, 0, false],
    ["control stopped", 1, 2_000, false],
    ["mesh cut", 1, 2_000, true],
  ],
};

describe.each(["one", "two"] as const)("a world of %s", (shape) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ shape, keys: 8 });
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  test.each(plans[shape])(
    "%s, %i times under load: nothing is lost, nothing counts twice, and those who are known are served",
    async (fault, times, lastsMs, standings) => {
      const endMs = performance.now() + 150_000;
      const over = () => performance.now() > endMs;
      const result = await runCampaign(world, { fault, times, lastsMs, seed: 7, standings, over });
      console.log(JSON.stringify(tableOf([summaryOf([result])])));
      expect(problemsIn([result])).toEqual([]);
      expect(result.rounds).toHaveLength(times);
      // Else nothing was under way, and nothing was shown.
      expect(result.rounds.every(({ hit }) => Object.values(hit).some((requests) => requests > 0))).toBe(true);
    },
    240_000,
  );
});
