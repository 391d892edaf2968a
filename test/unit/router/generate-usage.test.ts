import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { EndReason, type UsageRecord, UsageState } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { accepted, finished, textDelta, usageEvent } from "../../../services/drivers/events.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { answer, closeClean, gone, leaves, openWorld, seen } from "../../fakes/generation-calls.ts";
import type { RouterWorld, WorldOptions } from "../../fakes/router-world.ts";
import type { ScriptedTry } from "../../fakes/scripted-driver.ts";

const { ENGINE, COUNTED, ESTIMATED } = CountSource;
/** What the router takes "Say hello." for, with what a message has around it, if nobody counts. */
const promptEstimate = 6n;

let world: RouterWorld;
function begin(options?: WorldOptions, replicas: readonly string[] = ["a"]): void {
  world = openWorld(options, replicas);
}
beforeEach(() => begin());
afterEach(() => closeClean(world));

function final(): UsageRecord {
  const last = world.journal.finals.at(-1);
  if (!last) throw new Error("there is no final");
  return last;
}

/** The engine takes the request and gives so many pieces of a token each. */
function pieces({ sink }: ScriptedTry, count: number): void {
  sink.event(accepted());
  for (let i = 0; i < count; i++) {
    sink.event(textDelta(0, "x", 1));
    sink.turn();
  }
}

const bill = ({ tokens }: UsageRecord) => [
  tokens?.promptTokens,
  tokens?.completionTokens,
  tokens?.promptSource,
  tokens?.completionSource,
];

describe("the bill", () => {
  test("of an answer is what the engine counted", () => {
    world.alias("chat", "m");
    world.call({ model: "chat" });
    world.clock.advance(40);
    answer(world.tryAt("a"), "x", "y");
    expect(bill(final())).toEqual([9n, 2n, ENGINE, ENGINE]);
    expect(final()).toMatchObject({
      requestId: "request-1",
      state: UsageState.FINAL,
      orgId: "org",
      projectId: "project",
      keyId: "key",
      requestedModel: "chat",
      model: "m",
      replicaId: "a",
      operation: "generate",
      endReason: EndReason.COMPLETED,
      errorReason: ErrorReason.UNSPECIFIED,
      duration: { nanos: 40_000_000 },
      timeToFirstToken: { nanos: 40_000_000 },
      attempts: [{ replicaId: "a", duration: { nanos: 40_000_000 }, tokens: { completionTokens: 2n } }],
    });
  });

  const cuts: readonly [string, ErrorReason, EndReason][] = [
    ["its caller left", ErrorReason.CANCELLED, EndReason.CANCELLED],
    ["its deadline passed", ErrorReason.DEADLINE_EXCEEDED, EndReason.DEADLINE],
    ["its key was revoked", ErrorReason.KEY_REVOKED, EndReason.REVOKED],
    ["its reader was too slow", ErrorReason.SLOW_READER, EndReason.CANCELLED],
    ["a budget ran out", ErrorReason.BUDGET_EXHAUSTED, EndReason.LIMIT],
  ];
  test.each(cuts)("of an answer that was cut at token 3 because %s is the prompt and 3", (_name, reason, end) => {
    const call = world.call();
    pieces(world.tryAt("a"), 3);
    call.cancel(fail(reason));
    expect(bill(final())).toEqual([promptEstimate, 3n, ESTIMATED, COUNTED]);
    expect(final()).toMatchObject({ endReason: end, attempts: [{ replicaId: "a", errorReason: reason }] });
  });

  test("of a request that was cut before the first token is the prompt, as estimated", () => {
    world.call().cancel(leaves);
    expect(bill(final())).toEqual([promptEstimate, 0n, ESTIMATED, COUNTED]);
    expect(final().endReason).toBe(EndReason.CANCELLED);
  });

  test("of a request that was cut in the queue is nothing, and its wait is told", () => {
    const first = world.call();
    const waiting = world.call();
    world.clock.advance(1_500);
    waiting.cancel(fail(ErrorReason.KEY_REVOKED));
    expect(bill(final())).toEqual([0n, 0n, COUNTED, COUNTED]);
    expect(final()).toMatchObject({
      endReason: EndReason.REVOKED,
      attempts: [],
      replicaId: "",
      queueTime: { seconds: 1n, nanos: 500_000_000 },
      duration: { seconds: 1n, nanos: 500_000_000 },
    });
    first.cancel(leaves);
  });

  const refusals: readonly [string, WorldOptions, ErrorReason][] = [
    ["a full queue", { queueMax: 0 }, ErrorReason.QUEUE_FULL],
    ["a wait that was too long", { queueTimeoutMs: 1_000 }, ErrorReason.QUEUE_TIMEOUT],
  ];
  test.each(refusals)("of a request that found %s is nothing", (_name, options, reason) => {
    begin(options);
    const first = world.call();
    world.call();
    world.clock.advance(1_000);
    expect(bill(final())).toEqual([0n, 0n, COUNTED, COUNTED]);
    expect(final()).toMatchObject({ endReason: EndReason.FAILED, errorReason: reason, attempts: [] });
    first.cancel(leaves);
  });

  test("of a request that a second replica answered has the prompt once; the first try is listed as waste", () => {
    begin({}, ["a", "b"]);
    world.call();
    const [first = "", second = ""] = world.busyReplicas()[0] === "a" ? ["a", "b"] : ["b", "a"];
    world.tryAt(first).sink.event(accepted());
    world.clock.advance(20);
    world.tryAt(first).sink.fail(gone);
    answer(world.tryAt(second), "x", "y", "z");
    expect(bill(final())).toEqual([9n, 3n, ENGINE, ENGINE]);
    expect(final()).toMatchObject({
      replicaId: second,
      endReason: EndReason.COMPLETED,
      attempts: [
        {
          replicaId: first,
          errorReason: ErrorReason.ENGINE_UNAVAILABLE,
          duration: { nanos: 20_000_000 },
          tokens: { promptTokens: promptEstimate, completionTokens: 0n },
        },
        { replicaId: second, errorReason: ErrorReason.UNSPECIFIED, tokens: { completionTokens: 3n } },
      ],
    });
  });

  test("of a request whose every try failed before a piece is nothing: all of it was waste", () => {
    world.call();
    world.tryAt("a").sink.event(accepted());
    world.tryAt("a").sink.fail(gone);
    expect(bill(final())).toEqual([0n, 0n, COUNTED, COUNTED]);
    expect(final()).toMatchObject({
      endReason: EndReason.FAILED,
      errorReason: ErrorReason.ENGINE_UNAVAILABLE,
      attempts: [{ tokens: { promptTokens: promptEstimate } }],
    });
  });

  test("of an answer that broke off at token 2 is the prompt and 2", () => {
    world.call();
    pieces(world.tryAt("a"), 2);
    world.tryAt("a").sink.fail(fail(ErrorReason.ENGINE_TRUNCATED));
    expect(bill(final())).toEqual([promptEstimate, 2n, ESTIMATED, COUNTED]);
    expect(final()).toMatchObject({ endReason: EndReason.FAILED, errorReason: ErrorReason.ENGINE_TRUNCATED });
  });

  test("of a fallback names the model that answered beside the one that was asked for", () => {
    world.model({ id: "spare" });
    world.model({ id: "m", fallbackModelIds: ["spare"] });
    world.replica("a", { up: false });
    world.replica("c", { models: ["spare"] });
    world.call();
    answer(world.tryAt("c"), "x");
    expect(final()).toMatchObject({ requestedModel: "m", model: "spare", replicaId: "c" });
  });

  test.each([
    ["negative", -1, -5],
    ["absurd", 2 ** 40, 2 ** 40],
    ["none where some came", 9, 0],
  ])("never holds an engine's nonsense: %s", (_name, promptTokens, completionTokens) => {
    world.call();
    const { sink } = world.tryAt("a");
    pieces(world.tryAt("a"), 2);
    sink.event(finished(0, FinishReason.STOP));
    sink.event(usageEvent({ promptTokens, completionTokens, promptSource: ENGINE, completionSource: ENGINE }));
    sink.end();
    expect(bill(final()).slice(1, 2)).toEqual([2n]);
    expect(final().tokens?.completionSource).toBe(COUNTED);
    if (promptTokens !== 9) expect(bill(final())[0]).toBe(promptEstimate);
  });
});

describe("what is refused before it is admitted leaves no record", () => {
  test("an unknown model", () => {
    world.call({ model: "unknown" });
    expect([world.journal.finals, world.journal.snapshots]).toEqual([[], []]);
  });

  test("anything, while the journal has no room: no engine hears of it, and it goes on by itself", () => {
    world.journal.hasRoom = false;
    const refused = world.call();
    expect(seen(refused)).toEqual(["fail LEDGER_UNAVAILABLE"]);
    expect(refused.sink.error?.retryAfterMs).toBe(1_000);
    expect([world.busyReplicas(), world.journal.finals]).toEqual([[], []]);
    world.records.pop();
    world.journal.hasRoom = true;
    world.call();
    answer(world.tryAt("a"), "x");
    expect(final().endReason).toBe(EndReason.COMPLETED);
  });

  test("one that waits was noted, and keeps its room", () => {
    const first = world.call();
    const waiting = world.call();
    world.journal.hasRoom = false;
    first.cancel(leaves);
    expect(world.driver("a").tries).toHaveLength(2);
    waiting.cancel(leaves);
  });

  test("one that waits after a failed try was noted without what that try cost", () => {
    begin({}, ["a", "b"]);
    world.call();
    const other = world.call();
    world.tryAt("a").sink.fail(gone);
    const noted = world.journal.snapshots.at(-1);
    expect(noted).toMatchObject({
      requestId: "request-1",
      attempts: [{ replicaId: "a", errorReason: ErrorReason.ENGINE_UNAVAILABLE }],
    });
    expect(noted && bill(noted)).toEqual([0n, 0n, COUNTED, COUNTED]);
    other.cancel(leaves);
    answer(world.tryAt("b"), "x");
  });
});

describe("the journal comes first", () => {
  beforeEach(() => {
    world.journal.holds = true;
  });
  afterEach(() => {
    world.journal.holds = false;
    world.journal.flush();
  });

  test("an engine hears of a request when its intent is written", () => {
    world.call();
    expect(world.journal.snapshots).toMatchObject([
      {
        state: UsageState.INTENT,
        sequence: 1n,
        replicaId: "a",
        tokens: { promptTokens: promptEstimate, promptSource: ESTIMATED },
        attempts: [{ replicaId: "a" }],
      },
    ]);
    expect(world.busyReplicas()).toEqual([]);
    world.journal.flush();
    expect(world.busyReplicas()).toEqual(["a"]);
  });

  test("a request that is cut before that is never dispatched: nothing is billed", () => {
    world.call().cancel(leaves);
    world.journal.flush();
    expect(world.busyReplicas()).toEqual([]);
    expect(bill(final())).toEqual([0n, 0n, COUNTED, COUNTED]);
    expect(final()).toMatchObject({ endReason: EndReason.CANCELLED, attempts: [], replicaId: "" });
  });

  test("pieces are passed on when their count is written, all of a turn together", () => {
    const call = world.call();
    world.journal.flush();
    pieces(world.tryAt("a"), 3);
    expect([seen(call), world.journal.progresses]).toEqual([[], []]);
    world.journal.flush();
    expect(seen(call)).toEqual(["started 1", "+x", "+x", "+x"]);
    expect([call.sink.turns, world.journal.progresses.length]).toEqual([1, 1]);
    expect(world.journal.progresses[0]).toMatchObject({ completionTokens: 3, sequence: 2, firstTokenMs: 0 });
    world.journal.flush();
    expect(world.journal.progresses).toHaveLength(1);
    call.cancel(leaves);
  });

  test("the end is told when the final record is written", () => {
    const call = world.call();
    world.journal.flush();
    answer(world.tryAt("a"), "x");
    expect(final().endReason).toBe(EndReason.COMPLETED);
    expect(seen(call)).toEqual([]);
    world.journal.flush();
    expect(seen(call)).toEqual(["started 1", "+x", "finished 0", "usage 9+1", "end"]);
  });

  test("a caller who leaves meanwhile hears nothing, and there is one record", () => {
    const call = world.call();
    world.journal.flush();
    answer(world.tryAt("a"), "x");
    call.cancel(leaves);
    world.journal.flush();
    expect([seen(call), world.journal.finals.length]).toEqual([[], 1]);
  });

  test("a caller who leaves at the first piece hears no second one of the same turn", () => {
    const call = world.call();
    world.journal.flush();
    pieces(world.tryAt("a"), 3);
    call.sink.onEvent = ({ event }) => {
      if (event.case === "delta") call.cancel(leaves);
    };
    world.journal.flush();
    expect(seen(call)).toEqual(["started 1", "+x"]);
    expect(bill(final())).toEqual([promptEstimate, 3n, ESTIMATED, COUNTED]);
  });

  test("a stop of the gateway ends what is held, with its pieces, and then says so", () => {
    const call = world.call();
    world.journal.flush();
    pieces(world.tryAt("a"), 2);
    world.generations.stopAll();
    world.journal.flush();
    expect(seen(call)).toEqual(["started 1", "+x", "+x", "failed DRAINING", "end"]);
    expect(bill(final())).toEqual([promptEstimate, 2n, ESTIMATED, COUNTED]);
  });

  test("a second dispatch is noted like the first, and what its engine sends at once waits for the next write", () => {
    begin({}, ["a", "b"]);
    world.journal.holds = true;
    const call = world.call();
    world.journal.flush();
    const [first = ""] = world.busyReplicas();
    const second = first === "a" ? "b" : "a";
    world.driver(second).onTry = (one) => pieces(one, 1);
    world.tryAt(first).sink.fail(gone);
    expect(world.driver(second).tries).toHaveLength(0);
    expect(world.journal.snapshots.at(-1)).toMatchObject({
      state: UsageState.PROGRESS,
      attempts: [{ errorReason: ErrorReason.ENGINE_UNAVAILABLE }, { replicaId: second }],
    });
    world.journal.flush();
    expect([world.driver(second).tries.length, seen(call)]).toEqual([1, []]);
    world.journal.flush();
    expect(seen(call)).toEqual(["started 2", "+x"]);
    call.cancel(leaves);
  });
});
