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

const queueTimeoutMs = 60_000;
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
    /** Asks for a place for it in the pool, and tells what came of it so far. */
    asks: (one: Content, pool = "pool") => {
      const heard: string[] = [];
      const found = quarantine.examine(one, pool, {
        cleared: () => heard.push("cleared"),
        barred: ({ reason }) => heard.push(reasonName(reason)),
      });
      turns();
      const examination = found instanceof Examination ? found : undefined;
      return {
        end: () => examination?.leave(),
        dies: (replica: string, others = 1) => {
          const watched = examination?.phase === "watched";
          return quarantine.died(one, { id: replica, score: others }, clock.monotonicMs(), watched);
        },
        get state(): string {
          if (!examination) return found instanceof Error ? reasonName(found.reason) : "goes on";
          if (examination.phase !== "over") return examination.phase;
          return heard.join() || "left";
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
    const { clock, dies, asks } = world();
    for (const replica of ["a", "b"]) dies(content("ping"), replica, crowd);
    const [first, second, third] = [asks(content("ping")), asks(content("ping")), asks(content("ping"))];
    third.end();
    clock.advance(queueTimeoutMs);
    expect([first.state, second.state, third.state]).toEqual(["watched", "QUEUE_TIMEOUT", "left"]);
    first.end();
    expect(clock.pendingTimers).toBe(0);
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
