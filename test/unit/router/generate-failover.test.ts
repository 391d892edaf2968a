import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { accepted, finished, textDelta } from "../../../services/drivers/events.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { answer, closeClean, died, gone, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import { anyone, type RouterWorld, type WorldOptions } from "../../fakes/router-world.ts";

let world: RouterWorld;

function begin(options?: WorldOptions, replicas?: readonly string[]): void {
  world = openWorld(options, replicas);
}

beforeEach(() => begin());
afterEach(() => closeClean(world));

describe("failover", () => {
  test("before the engine has taken it, another replica answers and nobody can tell", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    world.tryAt(first ?? "").sink.fail(gone);
    const second = first === "a" ? "b" : "a";
    answer(world.tryAt(second), "x");
    expect(seen(call)).toEqual(["started 2", "+x", "finished 0", "usage 9+1", "end"]);
    expect(world.records[0]?.tries).toMatchObject([
      { replica: first, outcome: "ENGINE_UNAVAILABLE" },
      { replica: second, outcome: "ok" },
    ]);
    expect(world.tryAt(second).attempt.id).toBe("request-1-2");
  });

  test("after started it starts again, and what the lost try counted is not billed", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    const { sink } = world.tryAt(first ?? "");
    sink.event(accepted());
    sink.event(textDelta(0, "", 7));
    sink.fail(fail(ErrorReason.ENGINE_FAILED));
    const { sink: other } = world.tryAt(first === "a" ? "b" : "a");
    other.event(accepted());
    other.event(textDelta(0, "x", 1));
    other.event(finished(0, FinishReason.STOP));
    other.end();
    expect(seen(call)).toEqual(["started 1", "started 2", "+x", "finished 0", "usage 6+1", "end"]);
  });

  test("never after a piece was passed on: one failed event with what was counted", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    const { sink } = world.tryAt(first ?? "");
    sink.event(accepted());
    sink.event(textDelta(0, "x", 2));
    sink.fail(gone);
    expect(seen(call)).toEqual(["started 1", "+x", "failed ENGINE_UNAVAILABLE", "end"]);
    expect(call.sink.events.at(-1)?.event.value).toMatchObject({ usage: { promptTokens: 6n, completionTokens: 2n } });
    expect(world.busyReplicas()).toEqual([first]);
  });

  test.each([ErrorReason.ENGINE_REFUSED, ErrorReason.CONTEXT_LENGTH_EXCEEDED, ErrorReason.ENGINE_CREDENTIAL])(
    "not for a reason that holds everywhere (%i)",
    (reason) => {
      const call = world.call();
      const [first] = world.busyReplicas();
      world.tryAt(first ?? "").sink.fail(fail(reason));
      expect(call.sink.error?.reason).toBe(reason);
      expect(world.busyReplicas()).toEqual([first]);
    },
  );

  test("each try is at another replica, and the last failure is the call's", () => {
    begin({ attemptsMax: 5 });
    const call = world.call();
    for (let round = 0; round < 2; round++) {
      const open = [...world.drivers.values()].flatMap((driver) => driver.tries).at(-1);
      open?.sink.fail(gone);
    }
    for (const driver of world.drivers.values()) for (const one of driver.tries) one.sink.fail(gone);
    expect(call.sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    for (const driver of world.drivers.values()) expect(driver.tries).toHaveLength(1);
  });

  test("stops after the tries that are allowed", () => {
    begin({ attemptsMax: 2 }, ["a", "b", "c", "d"]);
    for (const driver of world.drivers.values()) driver.onTry = ({ sink }) => sink.fail(gone);
    expect(world.call().sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    expect(world.busyReplicas()).toHaveLength(2);
  });

  test("a request whose engines die with it takes down two replicas at most", () => {
    begin({ attemptsMax: 10 }, ["a", "b", "c", "d"]);
    for (const driver of world.drivers.values()) {
      driver.onTry = ({ sink }) => {
        sink.event(accepted());
        sink.fail(died);
      };
    }
    expect(seen(world.call()).at(-2)).toBe("failed REQUEST_QUARANTINED");
    expect(world.busyReplicas()).toHaveLength(2);
  });

  test("waits at the front for a place at the other replica", () => {
    const first = world.call();
    const second = world.call();
    const third = world.call();
    expect(world.admission.waiting).toBe(1);
    world.tryAt("a").sink.fail(gone);
    // "a" is free now: the third, which has not tried it, gets it.
    expect(world.driver("a").tries).toHaveLength(2);
    const fourth = world.call();
    answer(world.tryAt("b"), "x");
    expect(world.driver("b").tries).toHaveLength(2);
    const retried = world.driver("b").last.attempt.id;
    expect(["request-1-2", "request-2-2"]).toContain(retried);
    for (const call of [first, second, third, fourth]) call.cancel(leaves);
  });

  test("a request that lost its replica and leaves while it waits for another has given back one place", () => {
    const calls = [world.call(), world.call()];
    world.tryAt("a").sink.fail(gone);
    expect(world.admission.waiting).toBe(1);
    for (const call of calls) call.cancel(leaves);
    expect(world.fleet.resolve("m")?.seats.map((seat) => seat.inFlight)).toEqual([0, 0]);
  });

  test("a cancel during the second try reaches the second engine only", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    world.tryAt(first ?? "").sink.fail(gone);
    call.cancel(leaves);
    expect(world.tryAt(first ?? "").cancels).toEqual([]);
    expect(world.tryAt(first === "a" ? "b" : "a").cancels).toEqual([leaves]);
  });

  test("what the first engine still says is not heard", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    const { sink: old } = world.tryAt(first ?? "");
    old.fail(gone);
    old.event(accepted());
    old.event(textDelta(0, "ghost", 1));
    old.end();
    old.fail(gone);
    expect(seen(call)).toEqual([]);
    answer(world.tryAt(first === "a" ? "b" : "a"), "x");
    expect(seen(call)).toEqual(["started 2", "+x", "finished 0", "usage 9+1", "end"]);
  });
});

describe("fallback models", () => {
  function withFallbacks(): void {
    begin({}, []);
    world.pool({ id: "other", concurrencyMax: 1 });
    world.model({ id: "m", fallbackModelIds: ["hidden", "n", "o"] });
    world.model({ id: "hidden", poolId: "other", disabled: true });
    world.model({ id: "n", poolId: "other" });
    world.model({ id: "o", poolId: "other" });
    world.replica("a", { up: false });
    world.replica("z", { poolId: "other", models: ["hidden", "n", "o"] });
  }

  test("serve while no replica of the model is open, under the model's own name", () => {
    withFallbacks();
    const call = world.call();
    answer(world.tryAt("z"), "x");
    expect(world.tryAt("z").attempt.model.modelId).toBe("n");
    expect(call.sink.events[0]?.event.value).toMatchObject({ model: "m" });
    expect(world.records).toMatchObject([{ asked: "m", model: "n" }]);
  });

  test("only those that the key may call", () => {
    withFallbacks();
    world.call({}, anyone("m", "o"));
    expect(world.tryAt("z").attempt.model.modelId).toBe("o");
    const none = world.call({}, anyone("m"));
    world.clock.advance(2_000);
    expect(none.sink.error?.reason).toBe(ErrorReason.NO_REPLICA);
  });

  test("are waited for where they are only busy", () => {
    withFallbacks();
    const first = world.call();
    const second = world.call();
    world.clock.advance(5_000);
    answer(world.tryAt("z"), "x");
    expect(seen(first).at(-1)).toBe("end");
    answer(world.tryAt("z"), "y");
    expect(seen(second)).toContain("+y");
  });

  test("serve when the only replica went away with the request not begun", () => {
    withFallbacks();
    world.replica("a");
    const call = world.call();
    world.tryAt("a").sink.fail(gone);
    answer(world.tryAt("z"), "x");
    expect(seen(call)).toContain("+x");
  });
});
