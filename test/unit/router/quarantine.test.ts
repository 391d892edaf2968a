import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Content } from "../../../services/router/quarantine/content.ts";
import { Quarantine, quarantineMs } from "../../../services/router/quarantine/quarantine.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const content = (text: string, { project = "project", model = "m" } = {}) =>
  new Content(project, model, model, () => Buffer.from(text));

const unread = new Content("project", "m", "m", () => {
  throw new Error("nobody needs to know what it is");
});

/** Engines that went away with a content, each dispatched just before. */
function world() {
  const clock = new SimulatedClock();
  const quarantine = new Quarantine(clock);
  return {
    clock,
    quarantine,
    dies: (one: Content, replica: string) => quarantine.crashed(one, replica, clock.monotonicMs()),
    reason: (one: Content) => quarantine.refusal(one)?.reason,
  };
}

describe("a content", () => {
  test("is refused when two engines went away with it, and says for how long", () => {
    const { clock, quarantine, dies, reason } = world();
    expect(dies(content("bad"), "a")).toBe(1);
    expect(reason(content("bad"))).toBeUndefined();
    clock.advance(1_000);
    expect(dies(content("bad"), "b")).toBe(2);
    clock.advance(2_000);
    const refusal = quarantine.refusal(content("bad"));
    expect([refusal?.reason, refusal?.facts]).toEqual([
      ErrorReason.REQUEST_QUARANTINED,
      { model: "m", crashes: "2", for_ms: String(quarantineMs - 2_000) },
    ]);
    expect(refusal?.rawMessage).toContain("refused for 598 s");
  });

  test("is refused when the one engine of a pool went away with it, came back, and went away again", () => {
    const { clock, dies, reason } = world();
    dies(content("bad"), "a");
    clock.advance(60_000);
    expect(dies(content("bad"), "a")).toBe(2);
    expect(reason(content("bad"))).toBe(ErrorReason.REQUEST_QUARANTINED);
  });

  test("that ran many times where an engine died is a suspect of one death", () => {
    const { clock, quarantine, reason } = world();
    const startMs = clock.monotonicMs();
    clock.advance(5_000);
    for (let request = 0; request < 20; request += 1) {
      clock.advance(1);
      expect(quarantine.crashed(content("ping"), "a", startMs + request)).toBe(1);
    }
    expect(reason(content("ping"))).toBeUndefined();
  });

  test.each<[string, Content]>([
    ["another content", content("good")],
    ["another project's", content("bad", { project: "other" })],
    ["one for another model", content("bad", { model: "n" })],
  ])("takes the blame for itself alone, and not for %s", (_, other) => {
    const { dies, reason } = world();
    for (const replica of ["a", "b"]) dies(content("bad"), replica);
    expect(reason(other)).toBeUndefined();
  });

  test.each([1, 2])("that was answered after %i deaths is no suspect", (deaths) => {
    const { quarantine, dies, reason } = world();
    for (const replica of ["a", "b"].slice(0, deaths)) dies(content("ping"), replica);
    quarantine.answered(content("ping"));
    expect(reason(content("ping"))).toBeUndefined();
    expect(dies(content("ping"), "c")).toBe(1);
  });

  test("is forgotten after a while", () => {
    const { clock, dies, reason } = world();
    dies(content("bad"), "a");
    clock.advance(quarantineMs - 1);
    dies(content("bad"), "b");
    clock.advance(quarantineMs - 1);
    expect(reason(content("bad"))).toBe(ErrorReason.REQUEST_QUARANTINED);
    clock.advance(1);
    expect(reason(content("bad"))).toBeUndefined();
    expect(dies(content("bad"), "a")).toBe(1);
  });

  test("is not even read while none of its project and model is known", () => {
    const { clock, quarantine, dies } = world();
    dies(content("bad", { project: "other" }), "a");
    dies(content("bad", { model: "n" }), "a");
    expect(quarantine.refusal(unread)).toBeUndefined();
    quarantine.answered(unread);
    dies(content("bad"), "a");
    expect(() => quarantine.refusal(unread)).toThrow("nobody needs to know");
    clock.advance(quarantineMs);
    quarantine.refusal(content("bad"));
    expect(quarantine.refusal(unread)).toBeUndefined();
  });
});

test("of too many the one whose death is the longest ago is forgotten", () => {
  const { dies, reason } = world();
  for (const replica of ["a", "b"]) dies(content("first"), replica);
  for (const replica of ["a", "b"]) dies(content("second"), replica);
  for (let other = 0; other < 4_095; other += 1) dies(content(`other ${other}`), "a");
  expect(reason(content("first"))).toBeUndefined();
  expect(reason(content("second"))).toBe(ErrorReason.REQUEST_QUARANTINED);
});
