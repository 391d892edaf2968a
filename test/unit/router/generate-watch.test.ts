import { create } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test } from "vitest";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { EmbedRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { answer, closeClean, died, gone, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import { commonFeatures, type RouterWorld } from "../../fakes/router-world.ts";
import { eventually } from "../../rpc/eventually.ts";

const ask = (prompt: string) => ({ input: { case: "prompt", value: prompt } }) as const;

let world: RouterWorld;
afterEach(() => closeClean(world));

/** A router with the model "m" at two engines, which others use as well. */
function begin(concurrencyMax: number, features: readonly Feature[] = commonFeatures): void {
  world = openWorld({}, []);
  world.pool({ concurrencyMax });
  for (const id of ["a", "b"]) world.replica(id, { running: 20, features });
}

/** Two engines die with each of these prompts, among others: from then on it runs under watch. */
function suspect(...prompts: string[]): void {
  for (const driver of world.drivers.values()) driver.onTry = ({ sink }) => sink.fail(died);
  for (const prompt of prompts) {
    const asked = world.call(ask(prompt));
    world.turns();
    expect(asked.sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    world.clock.advance(1);
  }
  for (const driver of world.drivers.values()) {
    driver.onTry = undefined;
    driver.tries.length = 0;
  }
}

/** Calls, and lets the quarantine look at it. */
function call(prompt: string) {
  const made = world.call(ask(prompt));
  world.turns();
  return made;
}

/** What each engine was asked last, since the prompts were suspect. */
const atEngines = () =>
  [...world.drivers].map(([id, { tries }]) => [id, tries.at(-1)?.attempt.request.input.value] as const);

const engineOf = (prompt: string) => atEngines().find(([, asked]) => asked === prompt)?.[0] ?? "none";

describe("a request under watch", () => {
  test("takes its turn with its place, and waits for a place as others do until then", () => {
    begin(1);
    suspect("one", "two");
    const others = [call("hello"), call("hello")];
    const first = call("one");
    const second = call("two");
    expect(world.admission.waiting).toBe(2);
    answer(world.tryAt("a"), "x");
    answer(world.tryAt("b"), "x");
    world.turns();
    // The second has no turn, and leaves its place to others.
    expect(atEngines()).toEqual([
      ["a", "one"],
      ["b", "hello"],
    ]);
    others.push(call("third"));
    expect(atEngines()[1]).toEqual(["b", "third"]);
    answer(world.tryAt("a"), "x");
    world.turns();
    expect(atEngines()[0]).toEqual(["a", "two"]);
    for (const id of ["a", "b"]) answer(world.tryAt(id), "x");
    for (const each of [first, second, ...others]) expect(seen(each)).toContain("+x");
  });

  test("goes to the front when its turn comes and no place is free", () => {
    begin(1);
    suspect("one", "two");
    const calls = ["one", "two", "hello", "third", "fourth"].map(call);
    // The second waits for its turn, the last two for a place.
    expect(world.admission.waiting).toBe(2);
    answer(world.tryAt("a"), "x");
    world.turns();
    expect(atEngines()).toEqual([
      ["a", "third"],
      ["b", "hello"],
    ]);
    answer(world.tryAt("b"), "x");
    expect(atEngines()[1]).toEqual(["b", "two"]);
    for (const id of ["b", "b", "a"]) answer(world.tryAt(id), "x");
    for (const each of calls) expect(seen(each)).toContain("+x");
  });

  test("at the front hides nobody behind it who waits for nothing any more", () => {
    begin(1);
    world.replica("c", { running: 20 });
    suspect("one", "two");
    const calls = ["one", "two", "hello"].map(call);
    const stranded = call("third");
    calls.push(call("fourth"), call("fifth"));
    // It was at "c", then at "a", and waits for "b".
    world.tryAt(engineOf("third")).sink.fail(gone);
    answer(world.tryAt(engineOf("one")), "x");
    world.tryAt("a").sink.fail(gone);
    world.turns();
    expect(world.admission.waiting).toBe(2);
    world.replica("b", { up: false });
    expect(stranded.sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    for (const each of calls) each.cancel(leaves);
  });

  test("holds its turn until an engine that can't be stopped has ended it", async () => {
    begin(8);
    suspect("one", "two");
    const first = call("one");
    const { promise, resolve } = Promise.withResolvers<void>();
    const second = call("two");
    world.tryAt(engineOf("one")).sink.lingers(promise);
    first.cancel(leaves);
    world.turns();
    expect(engineOf("two")).toBe("none");
    resolve();
    await promise;
    world.turns();
    answer(world.tryAt(engineOf("two")), "x");
    expect(seen(second)).toContain("+x");
  });

  test("takes another turn when it goes on elsewhere, and an engine can't be stopped", async () => {
    begin(8);
    suspect("one");
    const only = call("one");
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = engineOf("one");
    const { sink } = world.tryAt(before);
    sink.lingers(promise);
    sink.fail(fail(ErrorReason.ENGINE_FAILED));
    const other = before === "a" ? "b" : "a";
    expect(world.driver(other).tries).toHaveLength(0);
    resolve();
    await promise;
    world.turns();
    answer(world.tryAt(other), "x");
    expect(seen(only)).toContain("+x");
  });

  test.each([
    ["first", ["slow", "two"]],
    ["last", ["two", "slow"]],
  ])("is not blamed for what a suspect that has had its turn may have done, heard of %s", (_, order) => {
    begin(8);
    suspect("slow", "two");
    world.replica("b", { up: false });
    const { tries } = world.driver("a");
    for (const death of [1, 2]) {
      world.clock.advance(500);
      const calls = [call("slow"), call("two")];
      world.clock.advance(30_000);
      world.turns();
      expect(tries).toHaveLength(2 * death);
      for (const prompt of order)
        tries.findLast(({ attempt }) => attempt.request.input.value === prompt)?.sink.fail(died);
      for (const each of calls) expect(each.sink.error?.reason).toBe(ErrorReason.ENGINE_UNAVAILABLE);
    }
    const served = call("two");
    answer(world.tryAt("a"), "x");
    expect(seen(served)).toContain("+x");
  });

  test("keeps its turn while it waits for a place: none goes by unused", () => {
    begin(1);
    suspect("one", "two", "three");
    const calls = ["one", "two", "three", "hello", "fourth"].map(call);
    answer(world.tryAt("a"), "x");
    world.turns();
    // The turn is the second's, and both places are others'.
    expect(atEngines()).toEqual([
      ["a", "fourth"],
      ["b", "hello"],
    ]);
    world.clock.advance(30_000);
    world.turns();
    answer(world.tryAt("a"), "x");
    expect(atEngines()[0]).toEqual(["a", "two"]);
    world.clock.advance(29_999);
    world.turns();
    answer(world.tryAt("b"), "x");
    expect(engineOf("three")).toBe("none");
    answer(world.tryAt("a"), "x");
    world.turns();
    answer(world.tryAt(engineOf("three")), "x");
    for (const each of calls) expect(seen(each)).toContain("+x");
  });

  test("has its wait for a turn counted when it leaves meanwhile", () => {
    begin(8);
    suspect("one", "two");
    const first = call("one");
    const second = call("two");
    world.clock.advance(5_000);
    second.cancel(leaves);
    expect(world.records.at(-1)).toMatchObject({ reason: ErrorReason.CANCELLED, queuedMs: 5_000 });
    first.cancel(leaves);
    expect(world.records.at(-1)).toMatchObject({ queuedMs: 0 });
  });
});

test("an embedding's wait for a turn is counted when it leaves meanwhile", async () => {
  begin(8, [Feature.EMBED]);
  const request = create(EmbedRequestSchema, { model: "m", inputs: [{ input: { case: "text", value: "one" } }] });
  const asks = () => [...world.drivers.values()].flatMap((driver) => driver.asks);
  const dying = world.ask("embed", request);
  for (const death of [1, 2]) {
    await eventually(`it is at ${death} engines`, () => asks().length === death);
    for (const one of asks()) one.fail(fail(ErrorReason.ENGINE_UNAVAILABLE, { phase: "running" }));
  }
  await expect(dying).rejects.toMatchObject({ reason: ErrorReason.ENGINE_UNAVAILABLE });
  world.clock.advance(1);
  const leaving = new AbortController();
  const embed = (signal?: AbortSignal) => {
    const asked = world.ask("embed", request, signal && { signal });
    asked.catch(() => undefined);
    world.turns();
    return asked;
  };
  const first = embed();
  const second = embed(leaving.signal);
  await eventually("the first is at an engine", () => asks().length === 3);
  world.clock.advance(5_000);
  leaving.abort(leaves);
  await expect(second).rejects.toBeDefined();
  expect(world.records.at(-1)).toMatchObject({ queuedMs: 5_000 });
  world.unaries.stopAll();
  await expect(first).rejects.toBeDefined();
});

describe("a fallback model", () => {
  function withFallback(): void {
    world = openWorld({}, []);
    world.pool({ concurrencyMax: 8 });
    world.pool({ id: "other", concurrencyMax: 8 });
    world.model({ id: "m", fallbackModelIds: ["n"] });
    world.model({ id: "n", poolId: "other" });
    world.replica("a", { running: 20 });
    world.replica("z", { poolId: "other", models: ["n"], running: 20 });
    suspect("one", "two");
  }

  test("that answers does not clear what the model's own engines went away with", () => {
    withFallback();
    world.replica("a", { up: false });
    const served = call("one");
    answer(world.tryAt("z"), "x");
    expect(seen(served)).toContain("+x");
    world.replica("a", { running: 20 });
    const before = world.driver("a").tries.length;
    const calls = [call("one"), call("one")];
    expect(world.driver("a").tries.length - before).toBe(1);
    for (const each of calls) each.cancel(leaves);
  });

  test("takes the request to another pool: its turn in the first is the next one's", () => {
    withFallback();
    const first = call("one");
    const second = call("two");
    world.tryAt("a").sink.fail(gone);
    world.turns();
    expect(atEngines()).toEqual([
      ["a", "two"],
      ["z", "one"],
    ]);
    for (const id of ["a", "z"]) answer(world.tryAt(id), "x");
    for (const each of [first, second]) expect(seen(each)).toContain("+x");
  });
});
