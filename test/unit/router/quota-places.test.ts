import { describe, expect, test } from "vitest";
import { PlacesHistory } from "../../fakes/places-history.ts";

/** Histories of each kind; more of them by the variable QUOTA_HISTORIES. */
const seeds = Number(process.env["QUOTA_HISTORIES"] ?? 4);
const firstSeed = Number(process.env["QUOTA_SEED"] ?? 1);

describe("places are given out exactly, whatever wires do", () => {
  test.each([1, 2, 3])("%i nodes, nothing wrong", async (nodes) => {
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const history = new PlacesHistory(seed, [1, 2, 4, 4, 9, 30], nodes);
      history.graceMs = 0;
      await history.pass(20_000);
      await history.end();
      expect(history.problems, `seed ${seed}`).toEqual([]);
      expect(history.counts.granted).toBeGreaterThan(100);
      expect(history.counts.refused).toBeGreaterThan(10);
    }
  });

  test.each([1, 2])("%i nodes, and faults", async (nodes) => {
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const history = new PlacesHistory(seed, [1, 2, 4, 4, 9, 30], nodes);
      for (let fault = 0; fault < 4; fault++) {
        await history.pass(history.random.below(8_000));
        await history.fault();
        await history.pass(8_000);
      }
      await history.end();
      expect(history.problems, `seed ${seed}`).toEqual([]);
    }
  });
});
