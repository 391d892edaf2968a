import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Dialect, Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { accepted, finished, textDelta, usageEvent } from "../../services/drivers/events.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { anyone, type Call, commonFeatures, RouterWorld, type WorldOptions } from "../fakes/router-world.ts";
import type { ScriptedTry } from "../fakes/scripted-driver.ts";

const { ENGINE, COUNTED, ESTIMATED } = CountSource;
const leaves = fail(ErrorReason.CANCELLED);
let world: RouterWorld;

function begin(options: WorldOptions = {}, replicas: readonly string[] = ["a", "b"]): void {
  world = new RouterWorld(options);
  world.pool({ concurrencyMax: 1 });
  world.model({ id: "m" });
  for (const id of replicas) world.replica(id);
}

beforeEach(() => begin());

// Whatever a test did: every place is back, nobody waits, no timer is left, each request has one line in the log.
afterEach(async () => {
  const running = [...world.drivers.values()].flatMap((driver) => driver.tries);
  const before = world.records.length;
  world.generations.stopAll();
  for (const record of world.records.slice(before)) expect(record.reason).toBe(ErrorReason.DRAINING);
  expect(world.inFlight).toBe(0);
  expect(world.queued).toBe(0);
  expect(world.admission.waiting).toBe(0);
  expect(world.clock.pendingTimers).toBe(0);
  for (const seat of world.fleet.resolve("m")?.seats ?? []) expect(seat.inFlight).toBe(0);
  for (const { sink } of running) {
    sink.event(textDelta(0, "late", 1));
    sink.end();
  }
  const ids = world.records.map(({ context }) => context.requestId);
  expect(new Set(ids).size).toBe(ids.length);
  await world.fleet[Symbol.asyncDispose]();
});

/** What a caller saw, in short. */
function seen({ sink }: Call): string[] {
  const lines = sink.events.map(short);
  if (sink.ended) lines.push("end");
  if (sink.error) lines.push(`fail ${nameOfReason(sink.error.reason)}`);
  return lines;
}

function short({ event }: GenerateResponse): string {
  switch (event.case) {
    case "started":
      return `started ${event.value.attempt}`;
    case "delta":
      return event.value.fragment.case === "text" ? `+${event.value.fragment.value}` : "+?";
    case "finished":
      return `finished ${event.value.choice}`;
    case "usage":
      return `usage ${event.value.promptTokens}+${event.value.completionTokens}`;
    case "failed":
      return `failed ${nameOfReason(event.value.error?.reason ?? 0)}`;
    default:
      return "?";
  }
}

function nameOfReason(reason: ErrorReason): string {
  return Object.entries(ErrorReason).find(([, value]) => value === reason)?.[0] ?? "?";
}

/** The one try that runs at a replica. */
function tryAt(id: string): ScriptedTry {
  return world.driver(id).last;
}

function busyReplicas(): string[] {
  return [...world.drivers].filter(([, driver]) => driver.tries.length > 0).map(([id]) => id);
}

function answer({ sink }: ScriptedTry, ...texts: string[]): void {
  sink.event(accepted());
  for (const text of texts) sink.event(textDelta(0, text, 1));
  sink.event(finished(0, FinishReason.STOP));
  sink.event(
    usageEvent({ promptTokens: 9, completionTokens: texts.length, promptSource: ENGINE, completionSource: ENGINE }),
  );
  sink.end();
}

const gone = fail(ErrorReason.ENGINE_UNAVAILABLE);

describe("a request that goes well", () => {
  test("is started, streamed, finished, counted and ended, in this order", () => {
    const call = world.call();
    const [id] = busyReplicas();
    answer(tryAt(id ?? ""), "Hel", "lo");
    expect(seen(call)).toEqual(["started 1", "+Hel", "+lo", "finished 0", "usage 9+2", "end"]);
    expect(world.records).toMatchObject([
      { asked: "m", model: "m", reason: undefined, tries: [{ replica: id, model: "m", outcome: "ok" }] },
    ]);
  });

  test("gives the engine its own name of the model, our id, the project's salt, and what is known of it", () => {
    world.call({ extrasJson: '{"min_keep":2,"cache_salt":"mine"}', sampling: { maxTokens: 5 } });
    const { attempt } = world.driver(busyReplicas()[0] ?? "").last;
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
    const { attempt, sink } = tryAt(busyReplicas()[0] ?? "");
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
    const { sink } = tryAt(busyReplicas()[0] ?? "");
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
    const { sink } = tryAt("a");
    sink.event(accepted());
    sink.event(finished(1, FinishReason.STOP));
    sink.event(textDelta(0, "x", 1));
    sink.event(finished(0, FinishReason.LENGTH));
    sink.end();
    expect(seen(call)).toEqual(["started 1", "finished 1", "+x", "finished 0", "usage 6+1", "end"]);
  });
});

describe("cancel, in every phase, reaches the engine at once and gives the place back once", () => {
  test("while it waits", () => {
    begin({}, ["a"]);
    const first = world.call();
    const second = world.call();
    expect(world.admission.waiting).toBe(1);
    second.cancel(leaves);
    second.cancel(leaves);
    expect(world.admission.waiting).toBe(0);
    answer(tryAt("a"), "x");
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
    const one = tryAt("a");
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
    const one = tryAt(busyReplicas()[0] ?? "");
    answer(one, "x");
    call.cancel(leaves);
    expect(one.cancels).toEqual([]);
    expect(world.records).toHaveLength(1);
  });

  test("a cut of the gateway's own says so: as the call's failure, or after started as an event", () => {
    const early = world.call();
    const late = world.call();
    const [, b] = busyReplicas();
    tryAt(b ?? "").sink.event(accepted());
    tryAt(b ?? "").sink.event(textDelta(0, "x", 1));
    world.generations.stopAll();
    expect(seen(early)).toEqual(["fail DRAINING"]);
    expect(seen(late)).toEqual(["started 1", "+x", "failed DRAINING", "end"]);
    expect(tryAt(b ?? "").cancels).toHaveLength(1);
  });
});

describe("failover", () => {
  test("before the engine has taken it, another replica answers and nobody can tell", () => {
    const call = world.call();
    const [first] = busyReplicas();
    tryAt(first ?? "").sink.fail(gone);
    const second = first === "a" ? "b" : "a";
    answer(tryAt(second), "x");
    expect(seen(call)).toEqual(["started 2", "+x", "finished 0", "usage 9+1", "end"]);
    expect(world.records[0]?.tries).toMatchObject([
      { replica: first, outcome: "ENGINE_UNAVAILABLE" },
      { replica: second, outcome: "ok" },
    ]);
    expect(tryAt(second).attempt.id).toBe("request-1-2");
  });

  test("after started it starts again, and what the lost try counted is not billed", () => {
    const call = world.call();
    const [first] = busyReplicas();
    const { sink } = tryAt(first ?? "");
    sink.event(accepted());
    sink.event(textDelta(0, "", 7));
    sink.fail(fail(ErrorReason.ENGINE_FAILED));
    const { sink: other } = tryAt(first === "a" ? "b" : "a");
    other.event(accepted());
    other.event(textDelta(0, "x", 1));
    other.event(finished(0, FinishReason.STOP));
    other.end();
    expect(seen(call)).toEqual(["started 1", "started 2", "+x", "finished 0", "usage 6+1", "end"]);
  });

  test("never after a piece was passed on: one failed event with what was counted", () => {
    const call = world.call();
    const [first] = busyReplicas();
    const { sink } = tryAt(first ?? "");
    sink.event(accepted());
    sink.event(textDelta(0, "x", 2));
    sink.fail(gone);
    expect(seen(call)).toEqual(["started 1", "+x", "failed ENGINE_UNAVAILABLE", "end"]);
    expect(call.sink.events.at(-1)?.event.value).toMatchObject({ usage: { promptTokens: 6n, completionTokens: 2n } });
    expect(busyReplicas()).toEqual([first]);
  });

  test.each([ErrorReason.ENGINE_REFUSED, ErrorReason.CONTEXT_LENGTH_EXCEEDED, ErrorReason.ENGINE_CREDENTIAL])(
    "not for a reason that holds everywhere (%i)",
    (reason) => {
      const call = world.call();
      const [first] = busyReplicas();
      tryAt(first ?? "").sink.fail(fail(reason));
      expect(call.sink.error?.reason).toBe(reason);
      expect(busyReplicas()).toEqual([first]);
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
    expect(busyReplicas()).toHaveLength(2);
  });

  test("a request whose engines die with it takes down two replicas at most", () => {
    begin({ attemptsMax: 10 }, ["a", "b", "c", "d"]);
    for (const driver of world.drivers.values()) {
      driver.onTry = ({ sink }) => {
        sink.event(accepted());
        sink.fail(gone);
      };
    }
    expect(seen(world.call()).at(-2)).toBe("failed ENGINE_UNAVAILABLE");
    expect(busyReplicas()).toHaveLength(2);
  });

  test("waits at the front for a place at the other replica", () => {
    const first = world.call();
    const second = world.call();
    const third = world.call();
    expect(world.admission.waiting).toBe(1);
    tryAt("a").sink.fail(gone);
    // "a" is free now: the third, which has not tried it, gets it.
    expect(world.driver("a").tries).toHaveLength(2);
    const fourth = world.call();
    answer(tryAt("b"), "x");
    expect(world.driver("b").tries).toHaveLength(2);
    const retried = world.driver("b").last.attempt.id;
    expect(["request-1-2", "request-2-2"]).toContain(retried);
    for (const call of [first, second, third, fourth]) call.cancel(leaves);
  });

  test("a request that lost its replica and leaves while it waits for another has given back one place", () => {
    const calls = [world.call(), world.call()];
    tryAt("a").sink.fail(gone);
    expect(world.admission.waiting).toBe(1);
    for (const call of calls) call.cancel(leaves);
    expect(world.fleet.resolve("m")?.seats.map((seat) => seat.inFlight)).toEqual([0, 0]);
  });

  test("a cancel during the second try reaches the second engine only", () => {
    const call = world.call();
    const [first] = busyReplicas();
    tryAt(first ?? "").sink.fail(gone);
    call.cancel(leaves);
    expect(tryAt(first ?? "").cancels).toEqual([]);
    expect(tryAt(first === "a" ? "b" : "a").cancels).toEqual([leaves]);
  });

  test("what the first engine still says is not heard", () => {
    const call = world.call();
    const [first] = busyReplicas();
    const { sink: old } = tryAt(first ?? "");
    old.fail(gone);
    old.event(accepted());
    old.event(textDelta(0, "ghost", 1));
    old.end();
    old.fail(gone);
    expect(seen(call)).toEqual([]);
    answer(tryAt(first === "a" ? "b" : "a"), "x");
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
    answer(tryAt("z"), "x");
    expect(tryAt("z").attempt.model.modelId).toBe("n");
    expect(call.sink.events[0]?.event.value).toMatchObject({ model: "m" });
    expect(world.records).toMatchObject([{ asked: "m", model: "n" }]);
  });

  test("only those that the key may call", () => {
    withFallbacks();
    world.call({}, anyone("m", "o"));
    expect(tryAt("z").attempt.model.modelId).toBe("o");
    const none = world.call({}, anyone("m"));
    world.clock.advance(2_000);
    expect(none.sink.error?.reason).toBe(ErrorReason.NO_REPLICA);
  });

  test("are waited for where they are only busy", () => {
    withFallbacks();
    const first = world.call();
    const second = world.call();
    world.clock.advance(5_000);
    answer(tryAt("z"), "x");
    expect(seen(first).at(-1)).toBe("end");
    answer(tryAt("z"), "y");
    expect(seen(second)).toContain("+y");
  });

  test("serve when the only replica went away with the request not begun", () => {
    withFallbacks();
    world.replica("a");
    const call = world.call();
    tryAt("a").sink.fail(gone);
    answer(tryAt("z"), "x");
    expect(seen(call)).toContain("+x");
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
    const [first] = busyReplicas();
    const one = tryAt(first ?? "");
    for (const event of events) one.sink.event(event);
    expect(one.cancels.map(({ reason }) => reason)).toEqual([ErrorReason.ENGINE_PROTOCOL]);
    answer(tryAt(first === "a" ? "b" : "a"), "x");
    expect(seen(call)).toEqual(["started 2", "+x", "finished 0", "usage 9+1", "end"]);
  });

  test("a piece after the end of its choice is ENGINE_PROTOCOL, after what was passed on", () => {
    const call = world.call();
    const { sink } = tryAt(busyReplicas()[0] ?? "");
    sink.event(textDelta(0, "x", 1));
    sink.event(finished(0, FinishReason.STOP));
    sink.event(textDelta(0, "y", 1));
    expect(seen(call)).toEqual(["started 1", "+x", "finished 0", "failed ENGINE_PROTOCOL", "end"]);
  });

  test("a breach before the driver has returned stops the engine all the same", () => {
    begin({}, ["a"]);
    world.driver("a").onTry = ({ sink }) => sink.event(finished(3, FinishReason.STOP));
    const call = world.call();
    expect(tryAt("a").cancels).toHaveLength(1);
    expect(call.sink.error?.reason).toBe(ErrorReason.ENGINE_PROTOCOL);
  });

  test("an end without a finish is ENGINE_TRUNCATED: unseen it fails over, seen it is told", () => {
    const call = world.call();
    const [first] = busyReplicas();
    tryAt(first ?? "").sink.end();
    const { sink } = tryAt(first === "a" ? "b" : "a");
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
    const { sink } = tryAt(busyReplicas()[0] ?? "");
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

  test("the last one is never left out", () => {
    begin({}, ["a"]);
    world.driver("a").onTry = ({ sink }) => sink.fail(gone);
    for (let round = 0; round < 20; round++)
      expect(world.call().sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    expect(world.driver("a").tries).toHaveLength(20);
  });
});

describe("no place", () => {
  test("the queue is bounded", () => {
    begin({ queueMax: 2 }, ["a"]);
    const calls = [1, 2, 3, 4].map(() => world.call());
    expect(calls.map(({ sink }) => sink.error?.reason)).toEqual([
      undefined,
      undefined,
      undefined,
      ErrorReason.QUEUE_FULL,
    ]);
    expect(calls[3]?.sink.error).toMatchObject({ facts: { model: "m", queue_max: "2" }, retryAfterMs: 1_000 });
  });

  test("the wait is bounded", () => {
    begin({ queueTimeoutMs: 3_000 }, ["a"]);
    world.call();
    const waits = world.call();
    world.clock.advance(2_999);
    expect(waits.sink.error).toBeUndefined();
    world.clock.advance(1);
    expect(waits.sink.error).toMatchObject({ reason: ErrorReason.QUEUE_TIMEOUT, facts: { waited_ms: "3000" } });
    expect(world.records.at(-1)?.queuedMs).toBe(3_000);
  });

  test("no replica: 2 s are waited for one", () => {
    begin({}, []);
    world.replica("a", { up: false });
    const lucky = world.call();
    world.clock.advance(1_900);
    world.replica("a");
    answer(tryAt("a"), "x");
    expect(seen(lucky)).toContain("+x");
    world.replica("a", { up: false });
    const unlucky = world.call();
    world.clock.advance(2_000);
    expect(unlucky.sink.error).toMatchObject({
      reason: ErrorReason.NO_REPLICA,
      facts: { model: "m", why: "its replica does not answer" },
      retryAfterMs: 2_000,
    });
  });

  test("those who wait when the last replica goes are sent away after 2 s", () => {
    begin({}, ["a"]);
    const runs = world.call();
    const waits = world.call();
    world.clock.advance(10_000);
    world.replica("a", { up: false });
    world.clock.advance(1_999);
    expect(waits.sink.over).toBe(false);
    world.clock.advance(1);
    expect(waits.sink.error?.reason).toBe(ErrorReason.NO_REPLICA);
    expect(runs.sink.over).toBe(false);
  });

  test("a queue that drains into an engine that fails at once does not overflow the stack", () => {
    begin({ queueMax: 20_000 }, ["a"]);
    const first = world.call();
    const calls = Array.from({ length: 10_000 }, () => world.call());
    world.driver("a").onTry = ({ sink }) => sink.fail(gone);
    first.cancel(leaves);
    for (const call of calls) expect(call.sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
  });
});

describe("slow readers", () => {
  test("fullness and resume pass between the caller and the driver", () => {
    const call = world.call();
    const { sink } = tryAt(busyReplicas()[0] ?? "");
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
    const [first] = busyReplicas();
    const { sink } = tryAt(first ?? "");
    let woken = false;
    sink.resume = () => (woken = true) as never;
    sink.fail(gone);
    expect(call.sink.resume).toBeUndefined();
    expect(woken).toBe(false);
  });
});

describe("what is refused before an engine hears of it", () => {
  const rows: readonly [string, Parameters<RouterWorld["call"]>[0], ErrorReason, object][] = [
    ["an unknown model", { model: "nope" }, ErrorReason.MODEL_NOT_FOUND, { model: "nope" }],
    ["too many choices", { choices: 9 }, ErrorReason.INVALID_ARGUMENT, { param: "n", code: "integer_above_max_value" }],
    ["several choices of an engine that has one", { choices: 2 }, ErrorReason.UNSUPPORTED, { param: "n", model: "m" }],
    ["a suffix", { suffix: "x" }, ErrorReason.UNSUPPORTED, { param: "suffix" }],
    ["tools", { tools: [{ name: "f" }] }, ErrorReason.UNSUPPORTED, { param: "tools" }],
    ["a template", { extrasJson: '{"chat_template":"x"}' }, ErrorReason.INVALID_ARGUMENT, { param: "chat_template" }],
    ["token ids", { input: { case: "tokenIds", value: { ids: [1] } } }, ErrorReason.UNSUPPORTED, { param: "prompt" }],
  ];
  test.each(rows)("%s", (_name, request, reason, facts) => {
    const call = world.call(request);
    expect(call.sink.error).toMatchObject({ reason, facts });
    expect(busyReplicas()).toEqual([]);
  });

  test("a prompt far over the context", () => {
    begin({}, []);
    world.replica("a", { contextLength: 100 });
    const call = world.call({ input: { case: "prompt", value: "x".repeat(1_616) } });
    expect(call.sink.error).toMatchObject({
      reason: ErrorReason.CONTEXT_LENGTH_EXCEEDED,
      facts: { limit: "100", param: "prompt" },
    });
  });

  test("unknown, forbidden and disabled models are told apart by nobody", () => {
    world.model({ id: "off", disabled: true });
    world.alias("other", "m");
    const ask = (model: string, key = anyone("x")) => world.call({ model }, key).sink.error;
    for (const [model, key] of [
      ["m", anyone("x")],
      ["other", anyone("x")],
      ["off", anyone()],
      ["nope", anyone()],
    ] as const) {
      expect(ask(model, key)).toMatchObject({ reason: ErrorReason.MODEL_NOT_FOUND, facts: { model } });
    }
    const call = world.call({ model: "other" }, anyone("other"));
    expect(call.sink.error).toBeUndefined();
    call.cancel(leaves);
  });

  test("everything, while the catalogue is not known", () => {
    const blind = new RouterWorld();
    Object.defineProperty(blind.fleet, "synced", { value: false });
    expect(blind.call().sink.error?.reason).toBe(ErrorReason.SERVICE_UNAVAILABLE);
  });
});

describe("engines that take text", () => {
  const text = [Feature.PROMPT, Feature.STREAM];

  test("get the conversation rendered, and always a maximum", () => {
    begin({}, []);
    world.model({
      id: "m",
      chatTemplate: {
        source: "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]",
        sha256: "1",
      },
    });
    world.replica("a", { features: text, dialect: Dialect.TRITON, contextLength: 1_000 });
    const call = world.call();
    expect(tryAt("a").attempt).toMatchObject({ prompt: "[user]Say hello.[assistant]", maxTokens: 994 });
    call.cancel(leaves);
  });

  test("without a template nothing is sent", () => {
    begin({}, []);
    world.replica("a", { features: text });
    expect(world.call().sink.error).toMatchObject({ reason: ErrorReason.CHAT_TEMPLATE_MISSING, facts: { model: "m" } });
  });

  test("a template that does not take the messages gives the place back", () => {
    begin({}, []);
    world.model({ id: "m", chatTemplate: { source: "{{ raise_exception('roles must alternate') }}", sha256: "2" } });
    world.replica("a", { features: text });
    for (let round = 0; round < 3; round++) {
      expect(world.call().sink.error).toMatchObject({
        reason: ErrorReason.CHAT_TEMPLATE_FAILED,
        facts: { problem: "roles must alternate" },
      });
    }
  });
});

describe("replicas that come and go", () => {
  test("one that goes ends its request and only then closes its driver", async () => {
    begin({}, ["a"]);
    const call = world.call();
    const driver = world.driver("a");
    world.remove("replica", "a");
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
    world.remove("replica", "a");
    if (first) answer(first, "x");
    expect(driver.disposed).toBe(false);
    if (second) answer(second, "y");
    expect(driver.disposed).toBe(true);
  });

  test("one whose bounds change gets a new driver; what runs stays with the old", () => {
    begin({}, ["a"]);
    const call = world.call();
    const old = world.driver("a");
    world.pool({ concurrencyMax: 1, receiveBytesMax: 99n });
    expect(world.targets.at(-1)?.receiveBytesMax).toBe(99);
    const second = world.call();
    expect(world.driver("a").tries).toHaveLength(1);
    answer(old.last, "x");
    expect(old.disposed).toBe(true);
    for (const one of [call, second]) one.cancel(leaves);
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
    expect(tryAt("a").cancels).toEqual([]);
    call.cancel(leaves);
    world.snapshotEnd();
    expect(world.call().sink.error?.reason).toBe(ErrorReason.MODEL_NOT_FOUND);
  });
});
