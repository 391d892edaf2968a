import { describe, expect, test } from "vitest";
import { Content } from "../../../services/router/quarantine/content.ts";
import { Examination } from "../../../services/router/quarantine/examination.ts";
import type { Quarantine } from "../../../services/router/quarantine/quarantine.ts";
import { reasonName } from "../../../services/runtime/errors/reason-name.ts";
import { content, crowd, quarantineWorld } from "../../fakes/quarantine-world.ts";

/** A content that can't be read. */
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

test("a content is not even read while none that looks the same died elsewhere", () => {
  const { dies, asks } = quarantineWorld();
  expect(asks(unread("bad")).state).toBe("goes on");
  dies(content("bad", { project: "other" }), "a");
  dies(content("bad", { model: "n" }), "a");
  dies(content("longer"), "a");
  expect(asks(unread("bad")).state).toBe("goes on");
  dies(content("odd"), "a");
  expect(() => asks(unread("bad"))).toThrow("nobody needs to know");
});

describe("a content that waits to be read", () => {
  /** Asks for it, and does not let time pass. */
  function examine(quarantine: Quarantine, one: Content) {
    const found = quarantine.examine(one, undefined, { cleared: () => undefined, barred: () => undefined });
    if (!(found instanceof Examination)) return { state: found ? reasonName(found.reason) : "goes on" };
    return { state: found.phase, leave: () => found.leave() };
  }

  test("is not read when its caller has left", () => {
    const { quarantine, turns, dies } = quarantineWorld();
    dies(content("odd"), "a");
    const one = examine(quarantine, unread("bad"));
    expect(one.state).toBe("reading");
    one.leave?.();
    expect(turns).not.toThrow();
  });

  test("is read for others that wait for it, and after a death", () => {
    const { quarantine, clock, turns, dies } = quarantineWorld();
    dies(content("odd"), "a");
    const one = content("bad");
    quarantine.died(one, { id: "b", score: 1 }, clock.monotonicMs(), false);
    examine(quarantine, one).leave?.();
    turns();
    expect(one.digest).toBeDefined();
  });

  test("is one of so many: the next of the project is to come again, and gets past nothing unread", () => {
    const { quarantine, turns, dies } = quarantineWorld();
    for (const project of ["project", "other"]) dies(content("odd", { project }), "a");
    for (let each = 0; each < 512; each += 1) expect(examine(quarantine, content("bad")).state).toBe("reading");
    expect(examine(quarantine, content("bad")).state).toBe("OVERLOADED");
    expect(examine(quarantine, content("bad", { project: "other" })).state).toBe("reading");
    turns();
    expect(examine(quarantine, content("bad")).state).toBe("reading");
  });

  test("needs no room when it waits already, because an engine has died with it", () => {
    const { quarantine, clock } = quarantineWorld();
    const crowds = ["a", "b"].map((replica) =>
      Array.from({ length: 300 }, (_, at) => {
        const one = content(`prompt ${replica} ${at + 100}`);
        quarantine.died(one, { id: replica, score: crowd }, clock.monotonicMs(), false);
        return one;
      }),
    );
    const states = crowds.flat().map((one) => examine(quarantine, one).state);
    expect(new Set(states)).toEqual(new Set(["reading"]));
    expect(examine(quarantine, content("prompt c 100")).state).toBe("OVERLOADED");
  });
});
