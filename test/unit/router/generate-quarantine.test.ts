import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { EmbedRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { accepted, textDelta } from "../../../services/drivers/events.ts";
import { engineError } from "../../../services/drivers/failure.ts";
import { engineErrorIn, failureFromError } from "../../../services/drivers/openai/errors.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { reasonName } from "../../../services/runtime/errors/reason-name.ts";
import { answer, closeClean, died, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import { anyone, type Call, type RouterWorld } from "../../fakes/router-world.ts";
import type { ScriptedTry } from "../../fakes/scripted-driver.ts";
import { eventually } from "../../rpc/eventually.ts";

const poison = { input: { case: "prompt", value: "magic" } } as const;
const harmless = { input: { case: "prompt", value: "hello" } } as const;
const { REQUEST_QUARANTINED, ENGINE_UNAVAILABLE } = ErrorReason;

let world: RouterWorld;

function begin(replicas: readonly string[], attemptsMax = 3): void {
  world = openWorld({ attemptsMax }, replicas);
}

beforeEach(() => begin(["a", "b", "c", "d"]));
afterEach(() => closeClean(world));

/** The engine takes the request, and is gone. */
function dies({ sink }: ScriptedTry): void {
  sink.event(accepted());
  sink.fail(died);
}

/** Engines die of the poison, and answer anything else. */
function poisonable(): void {
  for (const driver of world.drivers.values()) {
    driver.onTry = (one) => {
      if (one.attempt.request.input.value === "magic") dies(one);
      else answer(one, "x");
    };
  }
}

/** Why it ended, before or after an engine had it. */
const endOf = (call: Call) =>
  call.sink.error ? reasonName(call.sink.error.reason) : seen(call).at(-2)?.replace("failed ", "");

const tried = () => [...world.drivers.values()].reduce((sum, { tries }) => sum + tries.length, 0);
const ask = (request: Parameters<RouterWorld["call"]>[0], principal = anyone()) => {
  const call = world.call(request, principal);
  world.turns();
  return call;
};
const ended = (...asked: Parameters<typeof ask>) => seen(ask(...asked)).at(-2);

describe("a request that takes engines down", () => {
  test("is told so after the second, and refused before an engine hears of it when it comes again", () => {
    poisonable();
    expect(ended(poison)).toBe("failed REQUEST_QUARANTINED");
    expect(tried()).toBe(2);
    const again = ask(poison);
    expect(again.sink.error?.reason).toBe(REQUEST_QUARANTINED);
    expect(tried()).toBe(2);
    // Refused as it came in, it is not in the ledger.
    expect(world.journal.finals.map(({ errorReason }) => errorReason)).toEqual([REQUEST_QUARANTINED]);
    expect(ended(harmless)).toBe("usage 9+1");
  });

  test("is another project's to send", () => {
    poisonable();
    ended(poison);
    const other = { ...anyone(), projectId: "other" };
    expect(ended(harmless, other)).toBe("usage 9+1");
    expect(ended({ ...poison, stream: true }, other)).toBe("failed REQUEST_QUARANTINED");
    expect(tried()).toBe(5);
  });

  test.each<[string, Parameters<typeof ask>[0]]>([
    ["from another session", { affinityHint: "two" }],
    ["by an alias of the model", { model: "nickname" }],
    ["with a salt that no engine gets", { extrasJson: '{"cache_salt":"two"}' }],
  ])("is known when it comes again %s", (_, other) => {
    poisonable();
    world.alias("nickname", "m");
    ended({ ...poison, affinityHint: "one" });
    expect(ask({ ...poison, ...other }).sink.error?.reason).toBe(REQUEST_QUARANTINED);
    expect(tried()).toBe(2);
  });

  test.each<[string, Parameters<typeof ask>[0]]>([
    ["other text", { input: { case: "prompt", value: "logic" } }],
    ["another kind of answer", { stream: true }],
    ["another temperature", { sampling: { temperature: 0.5 } }],
    ["a member that engines get", { extrasJson: '{"length_penalty":2}' }],
  ])("is another with %s", (_, other) => {
    poisonable();
    ended(poison);
    for (const driver of world.drivers.values()) driver.onTry = (one) => answer(one, "x");
    expect(ended({ ...poison, ...other })).toBe("usage 9+1");
  });

  test("one at a time, because no more tries are allowed, ends the same", () => {
    begin(["a", "b", "c"], 1);
    poisonable();
    expect(ended(poison)).toBe("failed ENGINE_UNAVAILABLE");
    world.clock.advance(500);
    expect(ended(poison)).toBe("failed REQUEST_QUARANTINED");
    expect(ask(poison).sink.error?.reason).toBe(REQUEST_QUARANTINED);
    expect(tried()).toBe(2);
  });

  test("in the middle of its answer ends the same", () => {
    for (const driver of world.drivers.values()) {
      driver.onTry = ({ sink }) => {
        sink.event(accepted());
        sink.event(textDelta(0, "x", 1));
        sink.fail(died);
      };
    }
    expect(ended(poison)).toBe("failed ENGINE_UNAVAILABLE");
    world.clock.advance(500);
    expect(ended(poison)).toBe("failed REQUEST_QUARANTINED");
    expect(ask(poison).sink.error?.reason).toBe(REQUEST_QUARANTINED);
  });

  test("takes the same request with it that still waits", () => {
    begin(["a", "b"]);
    const calls = Array.from({ length: 3 }, () => world.call(poison));
    expect(world.admission.waiting).toBe(1);
    world.clock.advance(10);
    dies(world.tryAt("a"));
    world.turns();
    // The one that waited has a place at "a" now, and the one that lost it waits for "b".
    expect([tried(), world.admission.waiting]).toEqual([3, 1]);
    world.clock.advance(10);
    dies(world.tryAt("b"));
    world.turns();
    // Whoever has not died twice itself is told when it would get a place.
    expect([tried(), world.admission.waiting]).toEqual([3, 1]);
    dies(world.tryAt("a"));
    world.turns();
    for (const call of calls) expect(endOf(call)).toBe("REQUEST_QUARANTINED");
  });

  test("is found in an embedding as well", async () => {
    begin([]);
    for (const id of ["a", "b", "c"]) world.replica(id, { features: [Feature.EMBED] });
    const request = create(EmbedRequestSchema, { model: "m", inputs: [{ input: { case: "text", value: "magic" } }] });
    const asked = world.ask("embed", request);
    for (const death of [1, 2]) {
      const asks = () => [...world.drivers.values()].flatMap((driver) => driver.asks);
      await eventually(`it is at ${death} engines`, () => asks().length === death);
      for (const ask of asks()) ask.fail(fail(ENGINE_UNAVAILABLE, { phase: "running" }));
    }
    await expect(asked).rejects.toMatchObject({ reason: REQUEST_QUARANTINED });
    const again = world.ask("embed", request);
    world.turns();
    await expect(again).rejects.toMatchObject({ reason: REQUEST_QUARANTINED });
  });
});

describe("a request that looks like a suspect", () => {
  beforeEach(() => {
    begin(["a", "b"], 1);
    for (const driver of world.drivers.values()) driver.onTry = dies;
    ended(poison);
    for (const driver of world.drivers.values()) driver.onTry = (one) => answer(one, "x");
  });

  test("is held back until it was read", () => {
    const call = world.call({ input: { case: "prompt", value: "logic" } });
    expect(tried()).toBe(1);
    world.turns();
    expect(seen(call)).toContain("+x");
  });

  test("may leave meanwhile: no engine hears of it", () => {
    const call = world.call({ input: { case: "prompt", value: "logic" } });
    call.cancel(leaves);
    world.turns();
    expect(tried()).toBe(1);
  });

  test("is not even held back when its length is another", () => {
    expect(seen(world.call({ input: { case: "prompt", value: "longer" } }))).toContain("+x");
  });
});

describe("an engine that lives, and says why it failed", () => {
  const said = (code: number) => {
    const told = engineErrorIn({ error: { message: "upstream request failed", type: "server_error", code } });
    return engineError(
      failureFromError(told ?? { message: "", kind: "", status: 0, limit: "", promptTokens: "" }),
      "m",
      undefined,
    );
  };

  test.each([502, 504])("in a stream that began well (%i) has not died of the request", (code) => {
    for (const driver of world.drivers.values()) {
      driver.onTry = ({ sink }) => {
        sink.event(accepted());
        sink.fail(said(code));
      };
    }
    expect(ended(poison)).toBe("failed ENGINE_UNAVAILABLE");
    expect(tried()).toBe(3);
    world.clock.advance(1);
    expect(ended(poison)).toBe("failed ENGINE_UNAVAILABLE");
  });
});

describe("a request that was only there", () => {
  test("when an engine died that had been taken out of the catalogue is no suspect", () => {
    const call = world.call(poison);
    const [first = ""] = world.busyReplicas();
    const one = world.tryAt(first);
    world.removeReplica(first);
    dies(one);
    for (const id of world.busyReplicas()) if (id !== first) dies(world.tryAt(id));
    const third = world.busyReplicas().at(-1) ?? "";
    answer(world.tryAt(third), "x");
    expect(seen(call)).toContain("+x");
    expect(tried()).toBe(3);
  });

  test.each<[string, (one: ScriptedTry, culprit: Call) => void]>([
    ["was told that it failed", ({ sink }) => sink.fail(fail(ErrorReason.ENGINE_FAILED))],
    ["heard nothing for too long", ({ sink }) => sink.fail(fail(ErrorReason.ENGINE_TIMEOUT))],
    ["has left", (_, culprit) => culprit.cancel(leaves)],
  ])("was not alone when the other one %s a moment before the engine died", (_, end) => {
    begin([], 1);
    world.pool({ concurrencyMax: 8 });
    for (const id of ["a", "b"]) {
      world.replica(id);
      const culprit = ask(poison);
      const call = ask(harmless);
      const [first, second] = world.driver(id).tries;
      if (!first || !second) throw new Error("both are at one engine");
      world.clock.advance(10);
      end(first, culprit);
      world.clock.advance(10);
      dies(second);
      expect(endOf(call)).toBe("ENGINE_UNAVAILABLE");
      world.replica(id, { up: false });
    }
  });

  test("and was answered meanwhile has but one death against it when the next engine dies", () => {
    begin(["a", "b", "c"], 1);
    for (const driver of world.drivers.values()) driver.onTry = dies;
    expect(ended(poison)).toBe("failed ENGINE_UNAVAILABLE");
    for (const driver of world.drivers.values()) driver.onTry = (one) => answer(one, "x");
    expect(ended(poison)).toBe("usage 9+1");
    world.clock.advance(60_000);
    for (const driver of world.drivers.values()) driver.onTry = dies;
    expect(ended(poison)).toBe("failed ENGINE_UNAVAILABLE");
  });
});
