import { afterEach, describe, expect, test } from "vitest";
import { closeClean } from "../../fakes/generation-calls.ts";
import { MortalEngines, poison } from "../../fakes/mortal-engines.ts";
import { seededRandom } from "../../fakes/seeded-random.ts";

let engines: MortalEngines;
afterEach(() => closeClean(engines.world));

const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
const isInnocent = (prompt: string) => prompt !== poison;
const isPoison = (prompt: string) => prompt === poison;

/** One request after the other, four a second. */
function traffic(project: string, forMs: number): number {
  const count = Math.floor(forMs / 250);
  for (let at = 0; at < count; at += 1) engines.client(project, `${project} ${at}`, at * 250);
  return count;
}

describe("a request that engines die of, among others", () => {
  test.each(seeds)(
    "with 20 of another tenant takes four engines down at most, and it alone is refused (%i)",
    (seed) => {
      engines = new MortalEngines(seededRandom(seed));
      engines.client("guilty", poison);
      for (let at = 0; at < 20; at += 1) engines.client("innocent", `bystander ${at}`);
      engines.run(400_000);
      expect(engines.ends(isPoison)).toEqual({ REQUEST_QUARANTINED: 1 });
      expect(engines.ends(isInnocent)).toEqual({ answered: 20 });
      expect(engines.deaths.length).toBeLessThanOrEqual(4);
    },
  );

  test.each(seeds)("in steady traffic as well (%i)", (seed) => {
    engines = new MortalEngines(seededRandom(seed), ["a", "b", "c"]);
    const count = traffic("innocent", 60_000);
    engines.client("guilty", poison, 10_000);
    engines.run(400_000);
    expect(engines.ends(isPoison)).toEqual({ REQUEST_QUARANTINED: 1 });
    expect(engines.ends(isInnocent)).toEqual({ answered: count });
    expect(engines.deaths.length).toBeLessThanOrEqual(4);
  });

  test.each(seeds)("sent eight times at once takes no more (%i)", (seed) => {
    engines = new MortalEngines(seededRandom(seed));
    const count = traffic("innocent", 60_000);
    for (let copy = 0; copy < 8; copy += 1) engines.client("guilty", poison, 5_000);
    engines.run(400_000);
    expect(engines.ends(isPoison)).toEqual({ REQUEST_QUARANTINED: 8 });
    expect(engines.ends(isInnocent)).toEqual({ answered: count });
    expect(engines.deaths.length).toBeLessThanOrEqual(4);
  });

  test("alone takes two", () => {
    engines = new MortalEngines(seededRandom(1), ["a", "b", "c"]);
    engines.client("guilty", poison);
    engines.run(60_000);
    expect(engines.ends(isPoison)).toEqual({ REQUEST_QUARANTINED: 1 });
    expect(engines.deaths).toHaveLength(2);
  });
});

test.each(seeds)("engines that restart in ordinary traffic, again and again: nobody is refused for it (%i)", (seed) => {
  engines = new MortalEngines(seededRandom(seed));
  const count = traffic("one", 60_000) + traffic("two", 60_000) + traffic("three", 60_000);
  for (const id of ["a", "b", "a", "b"]) {
    engines.run(12_000);
    engines.kill(id);
  }
  engines.run(300_000);
  expect(engines.ends(isInnocent)).toEqual({ answered: count });
});
