import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Content } from "../../../services/router/quarantine/content.ts";
import { Examination } from "../../../services/router/quarantine/examination.ts";
import { Quarantine, quarantineMs } from "../../../services/router/quarantine/quarantine.ts";
import { reasonName } from "../../../services/runtime/errors/reason-name.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const content = (text: string, { project = "project", model = "m" } = {}) =>
  new Content({
    projectId: project,
    modelId: model,
    model,
    sketch: () => String(text.length),
    all: () => ({ text }),
  });

const queueTimeoutMs = 50_000;
const crowd = 20;

/** Engines that went away with a content, each dispatched just before. */
function world() {
  const clock = new SimulatedClock();
  const later: (() => void)[] = [];
  const turns = () => {
    for (let run = later.shift(); run; run = later.shift()) run();
  };
  const quarantine = new Quarantine({ clock, queueTimeoutMs, schedule: (run) => void later.push(run) });
  return {
    clock,
    quarantine,
    turns,
    /** @param others requests at the replica, it among them. */
    dies: (one: Content, replica: string, others = 1) => {
      const deaths = quarantine.died(one, { id: replica, score: others }, clock.monotonicMs(), false);
      turns();
      clock.advance(1);
      return deaths;
    },
    /** Asks for it with a place in the pool, again when it is cleared without a turn, and tells what came of it so far. */
    asks: (one: Content, pool = "pool") => {
      let found: ReturnType<Quarantine["examine"]>;
      let heard = "goes on";
      const ask = (): void => {
        found = quarantine.examine(one, pool, {
          cleared() {
            heard = "cleared";
            if (!isWatched()) ask();
          },
          barred(error) {
            found = error;
          },
        });
      };
      const isWatched = () => found instanceof Examination && found.phase === "watched";
      ask();
      turns();
      return {
        end() {
          if (found instanceof Examination) found.leave();
          turns();
        },
        dies: (replica: string, others = 1) =>
          quarantine.died(one, { id: replica, score: others }, clock.monotonicMs(), isWatched()),
        get state(): string {
          if (found instanceof Examination) return found.phase;
          return found ? reasonName(found.reason) : heard;
        },
      };
    },
  };
}

const refused = reasonName(ErrorReason.REQUEST_QUARANTINED);

describe("a content", () => {
  test("is refused when two engines went away with it alone, and says for how long", () => {
    const { clock, quarantine, dies, asks, turns } = world();
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
    const { clock, dies, asks } = world();
    dies(content("bad"), "a");
    clock.advance(60_000);
    dies(content("bad"), "a");
    expect(asks(content("bad")).state).toBe(refused);
  });

  test("that died twice as one request needs not be read to be refused", () => {
    const { quarantine } = world();
    const one = content("bad");
    for (const id of ["a", "b"]) quarantine.died(one, { id, score: 1 }, 0, false);
    expect(one.digest).toBeUndefined();
    expect(quarantine.refusal(one)?.reason).toBe(ErrorReason.REQUEST_QUARANTINED);
  });

  test("that ran many times where an engine died is a suspect of one death", () => {
    const { clock, quarantine, asks } = world();
    const startMs = clock.monotonicMs();
    clock.advance(5_000);
    for (let request = 0; request < 20; request += 1) {
      clock.advance(1);
      expect(quarantine.died(content("ping"), { id: "a", score: 20 - request }, startMs + request, false)).toBe(1);
    }
    expect(asks(content("ping")).state).toBe("cleared");
  });

  test.each<[string, Content]>([
    ["another content", content("odd")],
    ["another project's", content("bad", { project: "other" })],
    ["one for another model", content("bad", { model: "n" })],
  ])("takes the blame for itself alone, and not for %s", (_, other) => {
    const { dies, asks } = world();
    for (const replica of ["a", "b"]) dies(content("bad"), replica);
    expect(asks(other).state).toMatch(/goes on|cleared/);
  });

  test.each([1, 2])("that was answered after %i deaths is no suspect", (deaths) => {
    const { quarantine, turns, dies, asks } = world();
    for (const replica of ["a", "b"].slice(0, deaths)) dies(content("ping"), replica);
    quarantine.answered(content("ping"));
    turns();
    expect(asks(content("ping")).state).toBe("goes on");
  });

  test("is forgotten after a while", () => {
    const { clock, dies, asks } = world();
    dies(content("bad"), "a");
    clock.advance(quarantineMs - 2);
    dies(content("bad"), "b");
    clock.advance(quarantineMs - 2);
    expect(asks(content("bad")).state).toBe(refused);
    clock.advance(1);
    expect(asks(content("bad")).state).toBe("goes on");
  });

  test("is not even read while none that looks the same died elsewhere", () => {
    const { dies, asks } = world();
    const unread = (text: string) =>
      new Content({
        projectId: "project",
        modelId: "m",
        model: "m",
        sketch: () => String(text.length),
        all: () => {
          throw new Error("nobody needs to know what it is");
        },
      });
    expect(asks(unread("bad")).state).toBe("goes on");
    dies(content("bad", { project: "other" }), "a");
    dies(content("bad", { model: "n" }), "a");
    dies(content("longer"), "a");
    expect(asks(unread("bad")).state).toBe("goes on");
    dies(content("odd"), "a");
    expect(() => asks(unread("bad"))).toThrow("nobody needs to know");
  });
});

describe("a content that died in a crowd", () => {
  test("twice is not refused: it runs under watch, one at a time", () => {
    const { dies, asks } = world();
    for (const text of ["one", "two"]) for (const replica of ["a", "b"]) dies(content(text), replica, crowd);
    const first = asks(content("one"));
    const second = asks(content("two"));
    const elsewhere = asks(content("two"), "other pool");
    expect([first.state, second.state, elsewhere.state]).toEqual(["watched", "waiting", "watched"]);
    first.end();
    expect(second.state).toBe("watched");
  });

  test("is refused when two more engines went away with it under watch, whatever else was there", () => {
    const { dies, asks, clock } = world();
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
    const { quarantine, dies, asks } = world();
    for (const replica of ["a", "b"]) dies(content("ping"), replica, crowd);
    const known = content("ping");
    const [first, second] = [asks(known), asks(content("ping"))];
    quarantine.answered(known);
    first.end();
    expect(second.state).toBe("cleared");
  });

  test("is refused while it waits when its copy was found out", () => {
    const { dies, asks } = world();
    dies(content("bad"), "a");
    dies(content("bad"), "b", crowd);
    const [first, second] = [asks(content("bad")), asks(content("bad"))];
    first.dies("c", crowd);
    first.end();
    expect(second.state).toBe(refused);
  });

  test("does not wait for ever, and may leave while it waits", () => {
    const { clock, turns, dies, asks } = world();
    for (const replica of ["a", "b"]) dies(content("ping"), replica, crowd);
    const [first, second, third, fourth] = [1, 2, 3, 4].map(() => asks(content("ping")));
    fourth?.end();
    clock.advance(30_000);
    turns();
    clock.advance(queueTimeoutMs - 30_000);
    const states = [first, second, third, fourth].map((asked) => asked?.state);
    expect(states).toEqual(["over", "watched", "QUEUE_TIMEOUT", "over"]);
    second?.end();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("a turn under watch", () => {
  /** A router that two engines went away from with each of these, among others. */
  function watching(...contents: Content[]) {
    const known = world();
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
    expect([first.state, second.state]).toEqual(["over", "watched"]);
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
    expect([first.state, second.state]).toEqual(["over", "watched"]);
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

describe("a content that waits to be read", () => {
  const unread = (text: string, project = "project") =>
    new Content({
      projectId: project,
      modelId: "m",
      model: "m",
      sketch: () => String(text.length),
      all: () => {
        throw new Error("nobody waits for that");
      },
    });
  /** Asks for it, and does not let time pass. */
  function examine(quarantine: Quarantine, one: Content) {
    const found = quarantine.examine(one, undefined, { cleared: () => undefined, barred: () => undefined });
    if (!(found instanceof Examination)) return { state: found ? reasonName(found.reason) : "goes on" };
    return { state: found.phase, leave: () => found.leave() };
  }

  test("is not read when its caller has left", () => {
    const { quarantine, turns, dies } = world();
    dies(content("odd"), "a");
    const one = examine(quarantine, unread("bad"));
    expect(one.state).toBe("reading");
    one.leave?.();
    expect(turns).not.toThrow();
  });

  test("is read for others that wait for it, and after a death", () => {
    const { quarantine, clock, turns, dies } = world();
    dies(content("odd"), "a");
    const one = content("bad");
    quarantine.died(one, { id: "b", score: 1 }, clock.monotonicMs(), false);
    examine(quarantine, one).leave?.();
    turns();
    expect(one.digest).toBeDefined();
  });

  test("is one of so many: the next of the project is to come again, and gets past nothing unread", () => {
    const { quarantine, turns, dies } = world();
    for (const project of ["project", "other"]) dies(content("odd", { project }), "a");
    for (let each = 0; each < 512; each += 1) expect(examine(quarantine, content("bad")).state).toBe("reading");
    expect(examine(quarantine, content("bad")).state).toBe("OVERLOADED");
    expect(examine(quarantine, content("bad", { project: "other" })).state).toBe("reading");
    turns();
    expect(examine(quarantine, content("bad")).state).toBe("reading");
  });
});

test("of too many the one whose death is the longest ago is forgotten", () => {
  const { turns, dies, asks } = world();
  for (const replica of ["a", "b"]) dies(content("first"), replica);
  for (const replica of ["a", "b"]) dies(content("second"), replica);
  turns();
  for (let other = 0; other < 4_095; other += 1) dies(content(`other ${other}`), "a");
  expect(asks(content("first")).state).not.toBe(refused);
  expect(asks(content("second")).state).toBe(refused);
});
