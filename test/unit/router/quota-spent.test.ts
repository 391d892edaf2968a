import { describe, expect, test } from "vitest";
import { SpentHistory } from "../../fakes/spent-history.ts";

/** Histories of each kind; more of them by the variable QUOTA_HISTORIES. */
const seeds = Number(process.env["QUOTA_HISTORIES"] ?? 2);
const firstSeed = Number(process.env["QUOTA_SEED"] ?? 1);

/** Longer than a call waits, than a lease lives, and than what a silent node had is kept aside. */
const holds = [6_000, 20_000, 400_000];

describe("what was used is counted exactly, whatever wires do", () => {
  test.each(holds)("nothing moves for %i ms at most", async (longestMs) => {
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const history = new SpentHistory(seed, 2);
      for (let fault = 0; fault < 3; fault++) {
        await history.pass(history.random.below(15_000));
        await history.hold(longestMs / 2 + history.random.below(longestMs / 2));
      }
      await history.pass(8_000);
      await history.end();
      expect(history.problems, `seed ${seed}`).toEqual([]);
    }
  });

  test("the store dies, and nothing moves for a while", async () => {
    for (let seed = firstSeed; seed < firstSeed + seeds * 2; seed++) {
      const history = new SpentHistory(seed, 2);
      for (let fault = 0; fault < 4; fault++) {
        await history.pass(history.random.below(15_000));
        if (history.random.below(2) === 0) await history.hold(history.random.below(8_000));
        if (history.random.below(3) > 0) await history.kill();
      }
      await history.pass(8_000);
      await history.end();
      expect(history.problems, `seed ${seed}`).toEqual([]);
    }
  });
});
