import { describe, expect, test } from "vitest";
import { BudgetHistory } from "../../fakes/budget-history.ts";

/** Histories of each kind; more of them by the variable QUOTA_HISTORIES. */
const seeds = Number(process.env["QUOTA_HISTORIES"] ?? 2);
const firstSeed = Number(process.env["QUOTA_SEED"] ?? 1);

describe("budgets that are scarce are never exceeded, and what was used of them is counted in its period", () => {
  test.each(["nothing is wrong", "nothing moves for a while", "nodes die", "the store dies", "both die"])(
    "%s",
    async (kind) => {
      for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
        const history = new BudgetHistory({ seed, nodes: 3, beforeMidnightMs: 5_000 + ((seed * 7_919) % 55_000) });
        for (let fault = 0; fault < 4; fault++) {
          await history.pass(history.random.below(15_000));
          if (kind !== "nothing is wrong" && history.random.below(2) === 0)
            await history.hold(history.random.below(20_000));
          if (kind === "nodes die" || (kind === "both die" && history.random.below(2) === 0)) await history.killNode();
          if (kind === "the store dies" || (kind === "both die" && history.random.below(2) === 0))
            await history.killStore();
        }
        await history.pass(8_000);
        await history.end();
        expect(history.problems, `seed ${seed}`).toEqual([]);
        expect(history.counts.leased).toBeGreaterThan(50);
        expect(history.counts.refused).toBeGreaterThan(0);
      }
    },
  );
});
