import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { accepted, finished, textDelta, usageEvent } from "../../../services/drivers/events.ts";
import { answer, closeClean, gone, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import { commonFeatures, type RouterWorld, type WorldOptions } from "../../fakes/router-world.ts";

const { ENGINE, COUNTED, ESTIMATED } = CountSource;
let world: RouterWorld;

function begin(options?: WorldOptions, replicas?: readonly string[]): void {
  world = openWorld(options, replicas);
}

beforeEach(() => begin());
afterEach(() => closeClean(world));

describe("a request that goes well", () => {
  test("is started, streamed, finished, counted and ended, in this order", () => {
    const call = world.call();
    const [id] = world.busyReplicas();
    answer(world.tryAt(id ?? ""), "Hel", "lo");
    expect(seen(call)).toEqual(["started 1", "+Hel", "+lo", "finished 0", "usage 9+2", "end"]);
    expect(world.records).toMatchObject([
      { asked: "m", model: "m", reason: undefined, tries: [{ replica: id, model: "m", outcome: "ok" }] },
    ]);
  });

  test("gives the engine its own name of the model, our id, the project's salt, and what is known of it", () => {
    world.call({ extrasJson: '{"min_keep":2,"cache_salt":"mine"}', sampling: { maxTokens: 5 } });
    const { attempt } = world.driver(world.busyReplicas()[0] ?? "").last;
    expect(attempt).toMatchObject({
      id: "request-1-1",
      maxTokens: 5,
      extras: { min_keep: 2 },
      cacheSalt: "salt-of-project",
      prompt: undefined,
      model: { engineModel: "engine-m", modelId: "m" },
    });
  });

  test("tells what was resolved in started", () => {
    world.pool({ concurrencyMax: 1, hosted: true });
    const call = world.call({ extrasJson: '{"min_keep":2}', sampling: { maxTokens: 5 } });
    const { attempt, sink } = world.tryAt(world.busyReplicas()[0] ?? "");
    sink.event(accepted());
    expect(call.sink.events[0]?.event.value).toMatchObject({
      requestId: "request-1",
      model: "m",
      attempt: 1,
      maxTokens: 5n,
      ignored: ["min_keep"],
    });
    expect(attempt.cacheSalt).toBe("");
    call.cancel(leaves);
  });

  test("needs no started and no usage of the engine's", () => {
    const call = world.call();
    const { sink } = world.tryAt(world.busyReplicas()[0] ?? "");
    sink.event(textDelta(0, "Hi", 3));
    sink.event(finished(0, FinishReason.STOP));
    sink.end();
    // "Say hello." has 10 bytes, and a message costs 12 more.
    expect(seen(call)).toEqual(["started 1", "+Hi", "finished 0", "usage 6+3", "end"]);
    expect(world.records[0]?.counts).toMatchObject({ promptSource: ESTIMATED, completionSource: COUNTED });
  });

  test("may answer before the driver has returned", () => {
    for (const driver of world.drivers.values()) driver.onTry = (one) => answer(one, "now");
    expect(seen(world.call())).toEqual(["started 1", "+now", "finished 0", "usage 9+1", "end"]);
  });

  test("ends every choice", () => {
    begin({}, []);
    world.replica("a", { features: [...commonFeatures, Feature.CHOICES] });
    const call = world.call({ choices: 2 });
    const { sink } = world.tryAt("a");
    sink.event(accepted());
    sink.event(finished(1, FinishReason.STOP));
    sink.event(textDelta(0, "x", 1));
    sink.event(finished(0, FinishReason.LENGTH));
    sink.end();
    expect(seen(call)).toEqual(["started 1", "finished 1", "+x", "finished 0", "usage 6+1", "end"]);
  });
});

describe("slow readers", () => {
  test("fullness and resume pass between the caller and the driver", () => {
    const call = world.call();
    const { sink } = world.tryAt(world.busyReplicas()[0] ?? "");
    sink.event(textDelta(0, "x", 1));
    call.sink.isFull = true;
    expect(sink.full()).toBe(true);
    let resumed = 0;
    sink.resume = () => void (resumed += 1);
    call.sink.resume?.();
    expect(resumed).toBe(1);
    sink.resume = undefined;
    expect(call.sink.resume).toBeUndefined();
  });

  test("a try that was lost is not woken", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    const { sink } = world.tryAt(first ?? "");
    let woken = false;
    sink.resume = () => {
      woken = true;
    };
    sink.fail(gone);
    expect(call.sink.resume).toBeUndefined();
    expect(woken).toBe(false);
  });
});

describe("an engine that breaks the contract", () => {
  const breaches: readonly [string, GenerateResponse[]][] = [
    ["a piece of a choice that nobody asked for", [textDelta(1, "x", 1)]],
    ["the end of a choice that nobody asked for", [finished(7, FinishReason.STOP)]],
    ["a negative choice", [textDelta(-1, "x", 1)]],
  ];
  test.each(breaches)("%s: another replica tries, and the engine is stopped", (_name, events) => {
    const call = world.call();
    const [first] = world.busyReplicas();
    const one = world.tryAt(first ?? "");
    for (const event of events) one.sink.event(event);
    expect(one.cancels.map(({ reason }) => reason)).toEqual([ErrorReason.ENGINE_PROTOCOL]);
    answer(world.tryAt(first === "a" ? "b" : "a"), "x");
    expect(seen(call)).toEqual(["started 2", "+x", "finished 0", "usage 9+1", "end"]);
  });

  test("a piece after the end of its choice is ENGINE_PROTOCOL, after what was passed on", () => {
    const call = world.call();
    const { sink } = world.tryAt(world.busyReplicas()[0] ?? "");
    sink.event(textDelta(0, "x", 1));
    sink.event(finished(0, FinishReason.STOP));
    sink.event(textDelta(0, "y", 1));
    expect(seen(call)).toEqual(["started 1", "+x", "finished 0", "failed ENGINE_PROTOCOL", "end"]);
  });

  test("a breach before the driver has returned stops the engine all the same", () => {
    begin({}, ["a"]);
    world.driver("a").onTry = ({ sink }) => sink.event(finished(3, FinishReason.STOP));
    const call = world.call();
    expect(world.tryAt("a").cancels).toHaveLength(1);
    expect(call.sink.error?.reason).toBe(ErrorReason.ENGINE_PROTOCOL);
  });

  test("an end without a finish is ENGINE_TRUNCATED: unseen it fails over, and no engine died of the request", () => {
    const call = world.call();
    const [first] = world.busyReplicas();
    world.tryAt(first ?? "").sink.end();
    const { sink } = world.tryAt(first === "a" ? "b" : "a");
    sink.event(textDelta(0, "x", 1));
    sink.end();
    expect(seen(call)).toEqual(["started 2", "+x", "failed ENGINE_TRUNCATED", "end"]);
  });

  test.each([
    ["negative", -5n, -7n],
    ["absurd", 10n ** 12n, 10n ** 12n],
    ["nothing, where something came", 0n, 0n],
  ])("counts that are %s are not believed", (_name, promptTokens, completionTokens) => {
    const call = world.call();
    const { sink } = world.tryAt(world.busyReplicas()[0] ?? "");
    sink.event(textDelta(0, "xy", 2));
    sink.event(finished(0, FinishReason.STOP));
    const told = usageEvent({ promptTokens: 0, completionTokens: 0, promptSource: ENGINE, completionSource: ENGINE });
    if (told.event.case === "usage") Object.assign(told.event.value, { promptTokens, completionTokens });
    sink.event(told);
    sink.end();
    expect(seen(call).at(-2)).toBe("usage 6+2");
    expect(world.records[0]?.counts).toMatchObject({ promptSource: ESTIMATED, completionSource: COUNTED });
  });
});
