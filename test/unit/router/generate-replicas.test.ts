import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { answer, closeClean, gone, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import type { ReplicaOptions, RouterWorld, WorldOptions } from "../../fakes/router-world.ts";

let world: RouterWorld;

function begin(options?: WorldOptions, replicas?: readonly string[]): void {
  world = openWorld(options, replicas);
}

beforeEach(() => begin());
afterEach(() => closeClean(world));

describe("replicas that come and go", () => {
  test("one that goes ends its request and only then closes its driver", async () => {
    begin({}, ["a"]);
    const call = world.call();
    const driver = world.driver("a");
    world.removeReplica("a");
    expect(driver.disposed).toBe(false);
    answer(driver.last, "x");
    expect(seen(call)).toContain("+x");
    expect(driver.disposed).toBe(true);
  });

  test("one that goes with two requests keeps its driver for the second", () => {
    begin({}, []);
    world.pool({ concurrencyMax: 2 });
    world.replica("a");
    world.call();
    world.call();
    const driver = world.driver("a");
    const [first, second] = driver.tries;
    world.removeReplica("a");
    if (first) answer(first, "x");
    expect(driver.disposed).toBe(false);
    if (second) answer(second, "y");
    expect(driver.disposed).toBe(true);
  });

  test("one whose bounds change gets a new driver; what runs stays with the old, and keeps its place", () => {
    begin({}, ["a"]);
    world.call();
    const old = world.driver("a");
    world.pool({ concurrencyMax: 1, receiveBytesMax: 99n });
    expect(world.targets.at(-1)?.receiveBytesMax).toBe(99);
    const second = world.call();
    expect(world.driver("a").tries).toEqual([]);
    world.pool({ concurrencyMax: 1, receiveBytesMax: 100n });
    answer(old.last, "x");
    expect(old.disposed).toBe(true);
    expect(world.driver("a").tries).toHaveLength(1);
    second.cancel(leaves);
  });

  test("one whose number of places changes keeps its driver, and what runs there counts", () => {
    begin({}, ["a"]);
    const calls = [world.call(), world.call(), world.call()];
    const driver = world.driver("a");
    world.pool({ concurrencyMax: 2, choicesMax: 7 });
    expect([world.driver("a") === driver, driver.tries.length]).toEqual([true, 2]);
    world.pool({ concurrencyMax: 1 });
    answer(driver.tries[0] ?? driver.last, "x");
    expect(driver.tries).toHaveLength(2);
    answer(driver.last, "y");
    expect(driver.tries).toHaveLength(3);
    for (const call of calls) call.cancel(leaves);
  });

  test("a model that moves takes those who wait for it along", () => {
    begin({}, ["a"]);
    const calls = [world.call(), world.call(), world.call()];
    world.pool({ id: "other", concurrencyMax: 1 });
    world.replica("b", { poolId: "other" });
    world.model({ id: "m", poolId: "other" });
    expect(world.driver("b").tries).toHaveLength(1);
    answer(world.tryAt("b"), "x");
    expect(world.driver("b").tries).toHaveLength(2);
    for (const call of calls) call.cancel(leaves);
  });

  test("a replica that moves with its model hands its place on there", () => {
    begin({}, ["a"]);
    world.call();
    const waiting = world.call();
    world.pool({ id: "other", concurrencyMax: 1 });
    world.model({ id: "m", poolId: "other" });
    world.replica("a", { poolId: "other" });
    const driver = world.driver("a");
    expect(driver.tries).toHaveLength(1);
    answer(driver.last, "x");
    expect(driver.tries).toHaveLength(2);
    waiting.cancel(leaves);
  });

  test("those who wait for a model that is gone are told so after 2 s", () => {
    begin({}, ["a"]);
    const call = world.call();
    const waiting = world.call();
    world.model({ id: "m", poolId: "nowhere" });
    world.clock.advance(2_000);
    expect(waiting.sink.error?.facts["why"]).toBe("it was just removed");
    call.cancel(leaves);
  });

  test("a new replica takes those who wait", () => {
    begin({}, ["a"]);
    world.call();
    world.call();
    world.replica("b");
    expect(world.driver("b").tries).toHaveLength(1);
  });

  test("what others run there counts, what we run there ourselves does not count twice", () => {
    begin({}, []);
    world.pool({ concurrencyMax: 10 });
    world.replica("a");
    world.call();
    world.call();
    world.replica("a", { running: 2 });
    world.replica("b", { running: 3 });
    world.call();
    // a: 2 of ours; b: 3 of others.
    expect(world.driver("a").tries).toHaveLength(3);
  });

  test("the catalogue's restart takes nothing away before its snapshot is complete", () => {
    begin({}, ["a"]);
    world.fleet.begin();
    world.replica("a", { up: false, models: [] });
    const call = world.call();
    expect(world.tryAt("a").cancels).toEqual([]);
    call.cancel(leaves);
    world.snapshotEnd();
    expect(world.call().sink.error?.reason).toBe(ErrorReason.MODEL_NOT_FOUND);
  });
});

describe("a catalogue that has just started and does not reach a replica", () => {
  const restart = (over: ReplicaOptions) => {
    world.fleet.begin();
    world.pool({ concurrencyMax: 1 });
    world.model({ id: "m" });
    world.replica("a", { up: false, models: [], dialect: Dialect.UNSPECIFIED, ...over });
    world.snapshotEnd();
  };

  test("says nothing of what that is and has: it stays known, and down", () => {
    begin({}, ["a"]);
    const call = world.call();
    const old = world.driver("a");
    restart({});
    world.replica("a", { up: false, models: [], dialect: Dialect.UNSPECIFIED });
    expect(world.fleet.resolve("m")?.seats).toMatchObject([{ ready: false, inFlight: 1 }]);
    expect([world.driver("a") === old, old.disposed]).toEqual([true, false]);
    // What no replica could ever do would be UNSUPPORTED.
    const waiting = world.call();
    world.replica("a");
    answer(old.last, "x");
    expect(seen(call)).toContain("+x");
    answer(old.last, "y");
    expect(seen(waiting)).toContain("+y");
  });

  test.each<[string, ReplicaOptions]>([
    ["moved", { url: "http://elsewhere" }],
    ["is configured as another kind", { dialect: Dialect.TGI }],
  ])("knows better where the replica %s", (_, over) => {
    begin({}, ["a"]);
    restart(over);
    expect(world.fleet.resolve("m")?.seats).toEqual([]);
  });
});

describe("a replica that fails again and again", () => {
  test("gets no more requests for a while, and a caller's own mistakes never count", () => {
    const at = (reason: ErrorReason) => {
      for (const driver of world.drivers.values()) driver.onTry = undefined;
      world.driver("a").onTry = ({ sink }) => sink.fail(fail(reason));
      world.driver("b").onTry = (one) => answer(one, "x");
    };
    at(ErrorReason.CONTEXT_LENGTH_EXCEEDED);
    for (let round = 0; round < 1_000; round++) world.call();
    expect(world.ejected).toEqual([]);
    at(ErrorReason.ENGINE_FAILED);
    for (let round = 0; round < 200 && world.ejected.length === 0; round++) world.call();
    expect(world.ejected).toEqual(["a"]);
    const before = world.driver("a").tries.length;
    for (let round = 0; round < 100; round++) expect(world.call().sink.error).toBeUndefined();
    expect(world.driver("a").tries).toHaveLength(before);
    world.clock.advance(5_000);
    at(ErrorReason.CANCELLED);
    for (let round = 0; round < 100; round++) world.call();
    expect(world.driver("a").tries.length).toBeGreaterThan(before);
  });

  const eject = () => {
    world.driver("a").onTry = ({ sink }) => sink.fail(fail(ErrorReason.ENGINE_FAILED));
    world.driver("b").onTry = (one) => answer(one, "x");
    for (let round = 0; round < 200 && world.ejected.length === 0; round++) world.call();
    expect(world.ejected).toEqual(["a"]);
    for (const driver of world.drivers.values()) driver.onTry = undefined;
    return world.driver("a").tries.length;
  };

  test("is used again by those who wait, as soon as that is over", () => {
    const before = eject();
    const calls = [world.call(), world.call()];
    expect(world.queued).toBe(1);
    world.clock.advance(4_999);
    expect(world.driver("a").tries).toHaveLength(before);
    world.clock.advance(1);
    expect([world.queued, world.driver("a").tries.length]).toEqual([0, before + 1]);
    for (const call of calls) call.cancel(leaves);
  });

  test("is used again when its probes say that it is back", () => {
    const before = eject();
    const calls = [world.call(), world.call()];
    world.replica("a", { up: false });
    world.replica("a");
    expect([world.queued, world.driver("a").tries.length]).toEqual([0, before + 1]);
    for (const call of calls) call.cancel(leaves);
  });

  test("is known as such also through another driver", () => {
    eject();
    world.pool({ concurrencyMax: 1, receiveBytesMax: 99n });
    const calls = [world.call(), world.call()];
    expect([world.queued, world.driver("a").tries.length, world.driver("b").tries.length]).toEqual([1, 0, 1]);
    world.clock.advance(5_000);
    expect([world.queued, world.driver("a").tries.length]).toEqual([0, 1]);
    for (const call of calls) call.cancel(leaves);
  });

  test("the last one is never left out", () => {
    begin({}, ["a"]);
    world.driver("a").onTry = ({ sink }) => sink.fail(gone);
    for (let round = 0; round < 20; round++)
      expect(world.call().sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    expect(world.driver("a").tries).toHaveLength(20);
  });
});
