import { describe, expect, test } from "vitest";
import { type Candidate, pick } from "../../../services/router/fleet/picker.ts";
import { hash32 } from "../../../services/router/fleet/rendezvous.ts";

interface Named extends Candidate {
  readonly name: string;
}

function candidate(name: string, over: Partial<Candidate> = {}): Named {
  return {
    name,
    features: 0b111,
    ready: true,
    ejected: false,
    inFlight: 0,
    places: 10,
    score: 0,
    replica: {},
    hash: hash32(name),
    ...over,
  };
}

/** Numbers that look like chance and are the same in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const anything = { needed: 0b001, tried: [], affinity: 0 };
const nameOf = (found: Named | string) => (typeof found === "string" ? found : found.name);

describe("why there is no pick", () => {
  const tried = candidate("tried");
  const rows: readonly [string, readonly Named[], object, string][] = [
    ["nothing is known", [], {}, "closed"],
    ["no replica has the feature", [candidate("a"), candidate("b")], { needed: 0b1000 }, "unsupported"],
    ["the one that has it is down", [candidate("a", { ready: false }), candidate("b", { features: 0 })], {}, "closed"],
    ["all were tried", [tried], { tried: [tried.replica] }, "closed"],
    ["all are full", [candidate("a", { inFlight: 10 }), candidate("b", { inFlight: 11 })], {}, "busy"],
    [
      "the open one is full, the other was tried",
      [tried, candidate("a", { inFlight: 10 })],
      { tried: [tried.replica] },
      "busy",
    ],
  ];
  test.each(rows)("%s", (_name, candidates, wanted, expected) => {
    expect(pick(candidates, { ...anything, ...wanted }, () => 0)).toBe(expected);
  });
});

describe("the least busy replica is picked", () => {
  test("by its score, not by its own requests alone", () => {
    const list = [candidate("a", { inFlight: 1, score: 9 }), candidate("b", { inFlight: 3, score: 3 })];
    expect(nameOf(pick(list, anything, () => 0))).toBe("b");
  });

  test("but not one without a place, that lacks the feature, that is down or ejected", () => {
    const list = [
      candidate("full", { inFlight: 10 }),
      candidate("poor", { features: 0 }),
      candidate("down", { ready: false }),
      candidate("ejected", { ejected: true }),
      candidate("busy", { score: 5 }),
    ];
    expect(nameOf(pick(list, anything, () => 0))).toBe("busy");
  });

  test("an ejected one if all are, or if the others cannot be had", () => {
    const ejected = candidate("ejected", { ejected: true });
    expect(nameOf(pick([ejected, candidate("down", { ready: false })], anything, () => 0))).toBe("ejected");
    // Full is not gone: a place there comes free.
    expect(pick([ejected, candidate("full", { inFlight: 10 })], anything, () => 0)).toBe("busy");
  });

  test("between equals each gets its share", () => {
    const list = ["a", "b", "c", "d"].map((name) => candidate(name));
    const counts = new Map<string, number>();
    const chance = seeded(7);
    for (let round = 0; round < 8_000; round++) {
      const name = nameOf(pick(list, anything, chance));
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    for (const name of ["a", "b", "c", "d"]) expect(counts.get(name)).toBeGreaterThan(1_800);
  });

  test("load evens out over replicas of different speed", () => {
    const load = new Map([
      ["fast", 0],
      ["slow", 0],
    ]);
    const chance = seeded(3);
    for (let round = 0; round < 1_000; round++) {
      const list = [...load].map(([name, score]) => candidate(name, { score, places: 1_000 }));
      const name = nameOf(pick(list, anything, chance));
      load.set(name, (load.get(name) ?? 0) + 1);
      if (round % 2 === 0) load.set("fast", Math.max(0, (load.get("fast") ?? 0) - 2));
    }
    expect(Math.abs((load.get("fast") ?? 0) - (load.get("slow") ?? 0))).toBeLessThanOrEqual(2);
  });
});

describe("affinity", () => {
  const names = ["a", "b", "c", "d", "e"];
  const home = (key: string, without: string[] = [], over: (name: string) => Partial<Candidate> = () => ({})) =>
    nameOf(
      pick(
        names.filter((name) => !without.includes(name)).map((name) => candidate(name, over(name))),
        { ...anything, affinity: hash32(key) },
        seeded(1),
      ),
    );

  test("the same key goes to the same replica, and keys spread over all", () => {
    const homes = new Map<string, number>();
    for (let index = 0; index < 5_000; index++) {
      const first = home(`session-${index}`);
      expect(home(`session-${index}`)).toBe(first);
      homes.set(first, (homes.get(first) ?? 0) + 1);
    }
    for (const name of names) {
      expect(homes.get(name)).toBeGreaterThan(800);
      expect(homes.get(name)).toBeLessThan(1_200);
    }
  });

  test("a replica that goes moves only its own keys", () => {
    for (let index = 0; index < 500; index++) {
      const before = home(`session-${index}`);
      const after = home(`session-${index}`, ["c"]);
      expect(after === before).toBe(before !== "c");
    }
  });

  test("it yields when its replica is busier than the least by more than the margin", () => {
    const own = home("session");
    expect(home("session", [], (name) => ({ score: name === own ? 4 : 0 }))).toBe(own);
    expect(home("session", [], (name) => ({ score: name === own ? 5 : 0 }))).not.toBe(own);
  });
});
