import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Content } from "../../../services/router/quarantine/content.ts";
import { Examination } from "../../../services/router/quarantine/examination.ts";
import { quarantineMs } from "../../../services/router/quarantine/quarantine.ts";
import { reasonName } from "../../../services/runtime/errors/reason-name.ts";
import { content, crowd, quarantineWorld, queueTimeoutMs } from "../../fakes/quarantine-world.ts";

const refused = reasonName(ErrorReason.REQUEST_QUARANTINED);

describe("a content", () => {
  test("is refused when two engines went away with it alone, and says for how long", () => {
    const { clock, quarantine, dies, asks, turns } = quarantineWorld();
    expect(dies(content("bad"), "a")).toBe(1);
    expect(asks(content("bad")).state).toBe("cleared");
    const again = content("bad");
    asks(again);
    clock.advance(1_000);
    expect(dies(again, "b")).toBe(2);
    clock.advance(1_999);
    turns();
    const refusal = quarantine.refusal(again);
    expect([refusal?.reason, refusal?.facts]).toEqual([
      ErrorReason.REQUEST_QUARANTINED,
      { model: "m", crashes: "2", for_ms: String(quarantineMs - 2_000) },
    ]);
    expect(refusal?.rawMessage).toContain("refused for 598 s");
    expect(asks(content("bad")).state).toBe(refused);
  });

  test("is refused when the one engine of a pool went away with it, came back, and went away again", () => {
    const { clock, dies, asks } = quarantineWorld();
    dies(content("bad"), "a");
    clock.advance(60_000);
    dies(content("bad"), "a");
    expect(asks(content("bad")).state).toBe(refused);
  });

  test("that died twice as one request needs not be read to be refused", () => {
    const { quarantine } = quarantineWorld();
    const one = content("bad");
    for (const id of ["a", "b"]) quarantine.died(one, { id, score: 1 }, 0, false);
    expect(one.digest).toBeUndefined();
    expect(quarantine.refusal(one)?.reason).toBe(ErrorReason.REQUEST_QUARANTINED);
  });

  test("that ran many times where an engine died is a suspect of one death", () => {
    const { clock, quarantine, asks } = quarantineWorld();
    const startMs = clock.monotonicMs();
    clock.advance(5_000);
    for (let request = 0; request < 20; request += 1) {
      clock.advance(1);
      expect(quarantine.died(content("ping"), { id: "a", score: 20 - request }, startMs + request, false)).toBe(1);
    }
    expect(asks(content("ping")).state).toBe("cleared");
  });

  test("that comes to a replica while its death is being heard of is a suspect of that one death", () => {
    const { clock, quarantine, turns } = quarantineWorld();
    const startMs = clock.monotonicMs();
    clock.advance(5_000);
    quarantine.died(content("ping"), { id: "a", score: 20 }, startMs, false);
    turns();
    clock.advance(10);
    const late = content("ping");
    const lateMs = clock.monotonicMs();
    clock.advance(20);
    quarantine.died(late, { id: "a", score: 19 }, lateMs, false);
    turns();
    expect(quarantine.died(late, { id: "a", score: 18 }, lateMs, false)).toBe(1);
  });

  test.each<[string, Content]>([
    ["another content", content("odd")],
    ["another project's", content("bad", { project: "other" })],
    ["one for another model", content("bad", { model: "n" })],
  ])("takes the blame for itself alone, and not for %s", (_, other) => {
    const { dies, asks } = quarantineWorld();
    for (const replica of ["a", "b"]) dies(content("bad"), replica);
    expect(asks(other).state).toMatch(/goes on|cleared/);
  });

  test.each([1, 2])("that was answered after %i deaths is no suspect", (deaths) => {
    const { quarantine, turns, dies, asks } = quarantineWorld();
    for (const replica of ["a", "b"].slice(0, deaths)) dies(content("ping"), replica);
    quarantine.answered(content("ping"));
    turns();
    expect(asks(content("ping")).state).toBe("goes on");
  });

  test("that was answered is no suspect, though one that died before is read only then", () => {
    const { clock, quarantine, turns, dies, asks } = quarantineWorld();
    const known = content("ping");
    dies(content("pong"), "a");
    asks(known);
    expect(known.digest).toBeDefined();
    quarantine.died(content("ping"), { id: "b", score: 1 }, clock.monotonicMs(), false);
    quarantine.answered(known);
    turns();
    clock.advance(1);
    expect(dies(known, "c")).toBe(1);
  });

  test("is forgotten after a while, also when its death was heard of long after others'", () => {
    const { clock, quarantine, turns, dies, asks } = quarantineWorld();
    const startMs = clock.monotonicMs();
    for (const replica of ["a", "b"]) dies(content("first"), replica, crowd);
    clock.advance(60_000);
    dies(content("later"), "c");
    for (const id of ["a", "b"]) quarantine.died(content("bad"), { id, score: crowd }, startMs, true);
    turns();
    expect(asks(content("bad")).state).toBe(refused);
    clock.advance(quarantineMs - 60_000);
    expect(asks(content("bad")).state).toBe("cleared");
  });

  test("is forgotten after a while", () => {
    const { clock, dies, asks } = quarantineWorld();
    dies(content("bad"), "a");
    clock.advance(quarantineMs - 2);
    dies(content("bad"), "b");
    clock.advance(quarantineMs - 2);
    expect(asks(content("bad")).state).toBe(refused);
    clock.advance(1);
    expect(asks(content("bad")).state).toBe("goes on");
  });
});

describe("a content that died in a crowd", () => {
  test("twice is not refused: it runs under watch, one at a time", () => {
    const { dies, asks } = quarantineWorld();
    for (const text of ["one", "two"]) for (const replica of ["a", "b"]) dies(content(text), replica, crowd);
    const first = asks(content("one"));
    const second = asks(content("two"));
    const elsewhere = asks(content("two"), "other pool");
    expect([first.state, second.state, elsewhere.state]).toEqual(["watched", "waiting", "watched"]);
    first.end();
    expect(second.state).toBe("watched");
  });

  test("is refused when two more engines went away with it under watch, whatever else was there", () => {
    const { dies, asks, clock } = quarantineWorld();
    for (const replica of ["a", "b"]) dies(content("bad"), replica, crowd);
    for (const replica of ["a", "b"]) {
      const one = asks(content("bad"));
      expect(one.state).toBe("watched");
      clock.advance(1_000);
      one.dies(replica, crowd);
      one.end();
    }
    expect(asks(content("bad")).state).toBe(refused);
  });

  test("lets those that wait go on when it was answered under watch", () => {
    const { quarantine, dies, asks } = quarantineWorld();
    for (const replica of ["a", "b"]) dies(content("ping"), replica, crowd);
    const known = content("ping");
    const [first, second] = [asks(known), asks(content("ping"))];
    quarantine.answered(known);
    first.end();
    expect(second.state).toBe("cleared");
  });

  test("is refused while it waits when its copy was found out", () => {
    const { dies, asks } = quarantineWorld();
    dies(content("bad"), "a");
    dies(content("bad"), "b", crowd);
    const [first, second] = [asks(content("bad")), asks(content("bad"))];
    first.dies("c", crowd);
    first.end();
    expect(second.state).toBe(refused);
  });

  test("that has waited for too long goes on when a copy was answered meanwhile", () => {
    const { clock, quarantine, dies, asks } = quarantineWorld();
    for (const text of ["ping", "pong"]) for (const replica of ["a", "b"]) dies(content(text), replica, crowd);
    const known = content("ping");
    const states = [asks(content("pong")), asks(known), asks(content("pong"))];
    const elsewhere = asks(known, "other pool");
    quarantine.answered(known);
    elsewhere.end();
    clock.advance(queueTimeoutMs);
    expect(states.map(({ state }) => state)).toEqual(["late", "cleared", "QUEUE_TIMEOUT"]);
  });

  test("does not wait for ever, and may leave while it waits", () => {
    const { clock, turns, dies, asks } = quarantineWorld();
    for (const replica of ["a", "b"]) dies(content("ping"), replica, crowd);
    const [first, second, third, fourth] = [1, 2, 3, 4].map(() => asks(content("ping")));
    fourth?.end();
    clock.advance(30_000);
    turns();
    clock.advance(queueTimeoutMs - 30_000);
    const states = [first, second, third, fourth].map((asked) => asked?.state);
    expect(states).toEqual(["late", "watched", "QUEUE_TIMEOUT", "over"]);
    second?.end();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("a turn under watch", () => {
  /** A router that two engines went away from with each of these, among others. */
  function watching(...contents: Content[]) {
    const known = quarantineWorld();
    for (const one of contents) for (const replica of ["a", "b"]) known.dies(one, replica, crowd);
    return known;
  }

  test("ends after a while when others wait: what dies then was not alone", () => {
    const { clock, turns, asks } = watching(content("ping"), content("pong"));
    const first = asks(content("ping"));
    const second = asks(content("pong"));
    clock.advance(29_999);
    turns();
    expect([first.state, second.state]).toEqual(["watched", "waiting"]);
    clock.advance(1);
    turns();
    expect([first.state, second.state]).toEqual(["late", "watched"]);
    for (const replica of ["c", "d"]) {
      clock.advance(1);
      first.dies(replica, crowd);
    }
    second.end();
    expect(asks(content("ping")).state).toBe("watched");
  });

  test("lasts as long as nobody else waits", () => {
    const { clock, turns, asks } = watching(content("ping"), content("pong"));
    const first = asks(content("ping"));
    clock.advance(120_000);
    turns();
    expect(first.state).toBe("watched");
    const second = asks(content("pong"));
    expect([first.state, second.state]).toEqual(["late", "watched"]);
    second.end();
    expect(clock.pendingTimers).toBe(0);
  });

  test("that can't be used is handed on, and no deeper for each that waits", () => {
    const one = content("ping");
    const { quarantine, turns } = watching(one);
    let depth = 0;
    let deepest = 0;
    let failed = 0;
    const enter = () => {
      const examination = quarantine.examine(one, "pool", {
        cleared() {
          depth += 1;
          deepest = Math.max(deepest, depth);
          failed += 1;
          if (examination instanceof Examination) examination.leave();
          depth -= 1;
        },
        barred: () => undefined,
      });
      return examination instanceof Examination ? examination : undefined;
    };
    const first = enter();
    for (let other = 0; other < 100; other += 1) enter();
    first?.leave();
    turns();
    expect([failed, deepest]).toEqual([100, 1]);
    expect(enter()?.phase).toBe("watched");
  });

  test("is waited for by so many, and by so many of one project", () => {
    const projects = ["p", "q", "r", "s", "t"];
    const contents = projects.map((project) => content("ping", { project }));
    const { asks } = watching(...contents);
    const states = contents.map((one) => Array.from({ length: 130 }, () => asks(one).state));
    const count = (at: number, state: string) => states[at]?.filter((each) => each === state).length;
    expect(projects.map((_, at) => count(at, "waiting"))).toEqual([128, 128, 128, 128, 0]);
    expect(projects.map((_, at) => count(at, "QUEUE_FULL"))).toEqual([1, 2, 2, 2, 130]);
  });
});

test("of too many the one whose death is the longest ago is forgotten", () => {
  const { turns, dies, asks } = quarantineWorld();
  for (const replica of ["a", "b"]) dies(content("first"), replica);
  for (const replica of ["a", "b"]) dies(content("second"), replica);
  turns();
  for (let other = 0; other < 4_095; other += 1) dies(content(`other ${other}`), "a");
  expect(asks(content("first")).state).not.toBe(refused);
  expect(asks(content("second")).state).toBe(refused);
});
