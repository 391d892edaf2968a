import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { accepted, finished, textDelta } from "../../../services/drivers/events.ts";
import { answer, closeClean, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import type { RouterWorld, WorldOptions } from "../../fakes/router-world.ts";
import type { ScriptedTry } from "../../fakes/scripted-driver.ts";

let world: RouterWorld;

function begin(options?: WorldOptions, replicas?: readonly string[]): void {
  world = openWorld(options, replicas);
}

beforeEach(() => begin());
afterEach(() => closeClean(world));

describe("cancel, in every phase, reaches the engine at once and gives the place back once", () => {
  test("while it waits", () => {
    begin({}, ["a"]);
    const first = world.call();
    const second = world.call();
    expect(world.admission.waiting).toBe(1);
    second.cancel(leaves);
    second.cancel(leaves);
    expect(world.admission.waiting).toBe(0);
    answer(world.tryAt("a"), "x");
    expect(world.driver("a").tries).toHaveLength(1);
    expect(seen(second)).toEqual([]);
    expect(seen(first).at(-1)).toBe("end");
    expect(world.records[0]).toMatchObject({
      cancelled: true,
      tries: [],
      counts: undefined,
      reason: ErrorReason.CANCELLED,
    });
  });

  const phases: readonly [string, (one: ScriptedTry) => void, number][] = [
    ["before the engine has taken it", () => {}, 0],
    ["after it has", ({ sink }) => sink.event(accepted()), 1],
    ["while it streams", ({ sink }) => [accepted(), textDelta(0, "a", 1)].forEach((event) => sink.event(event)), 2],
    [
      "after the last piece",
      ({ sink }) =>
        [accepted(), textDelta(0, "a", 1), finished(0, FinishReason.STOP)].forEach((event) => sink.event(event)),
      3,
    ],
  ];
  test.each(phases)("%s", (_name, reach, events) => {
    begin({}, ["a"]);
    const call = world.call();
    const waiting = world.call();
    const one = world.tryAt("a");
    reach(one);
    call.cancel(leaves);
    expect(one.cancels).toEqual([leaves]);
    call.cancel(leaves);
    expect(one.cancels).toHaveLength(1);
    expect(call.sink.events).toHaveLength(events);
    expect(call.sink.over).toBe(false);
    expect(world.records).toMatchObject([{ cancelled: true, tries: [{ outcome: "CANCELLED" }] }]);
    // The place went to the one who waited, once.
    expect(world.driver("a").tries).toHaveLength(2);
    const third = world.call();
    expect(world.driver("a").tries).toHaveLength(2);
    for (const other of [waiting, third]) other.cancel(leaves);
  });

  test("from an engine that cannot be stopped the place comes back when it has ended", async () => {
    begin({}, ["a"]);
    const call = world.call();
    const waiting = world.call();
    const { sink } = world.tryAt("a");
    sink.event(accepted());
    const { promise, resolve } = Promise.withResolvers<void>();
    sink.lingers(promise);
    call.cancel(leaves);
    expect(world.driver("a").tries).toHaveLength(1);
    expect(world.admission.waiting).toBe(1);
    resolve();
    await promise;
    expect(world.driver("a").tries).toHaveLength(2);
    waiting.cancel(leaves);
  });

  test("from one that failed, too", async () => {
    begin({}, ["a"]);
    const call = world.call();
    const { sink } = world.tryAt("a");
    const { promise, resolve } = Promise.withResolvers<void>();
    sink.lingers(promise);
    sink.event(accepted());
    sink.event(textDelta(0, "x", 1));
    sink.fail(fail(ErrorReason.ENGINE_TIMEOUT));
    expect(seen(call).at(-1)).toBe("end");
    const waiting = world.call();
    expect(world.admission.waiting).toBe(1);
    resolve();
    await promise;
    expect(world.admission.waiting).toBe(0);
    waiting.cancel(leaves);
  });

  test("from within an event, before the driver has returned", () => {
    begin({}, ["a"]);
    const driver = world.driver("a");
    // The mesh holds such a cancel back until it has the handler's: then it comes right after.
    driver.onTry = ({ sink }) => sink.event(accepted());
    const call = world.call();
    call.cancel(leaves);
    expect(driver.last.cancels).toEqual([leaves]);
  });

  test("after the end it does nothing", () => {
    const call = world.call();
    const one = world.tryAt(world.busyReplicas()[0] ?? "");
    answer(one, "x");
    call.cancel(leaves);
    expect(one.cancels).toEqual([]);
    expect(world.records).toHaveLength(1);
  });

  test("a cut of the gateway's own says so: as the call's failure, or after started as an event", () => {
    const early = world.call();
    const late = world.call();
    const [, b] = world.busyReplicas();
    world.tryAt(b ?? "").sink.event(accepted());
    world.tryAt(b ?? "").sink.event(textDelta(0, "x", 1));
    world.generations.stopAll();
    expect(seen(early)).toEqual(["fail DRAINING"]);
    expect(seen(late)).toEqual(["started 1", "+x", "failed DRAINING", "end"]);
    expect(world.tryAt(b ?? "").cancels).toHaveLength(1);
  });
});
