import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import type { CallOptions } from "../../services/runtime/mesh/context.ts";
import { withStream } from "../../services/runtime/mesh/with-stream.ts";
import { failureOf, indexesOf, known, nothingIsLeft, requestId, textOf } from "./calls.ts";
import { eventually } from "./eventually.ts";
import { type CountResponse, Ending, type PushResponse } from "./gen/acceptance/v1/probe_service_pb.ts";
import { createHarness, type Harness, transports } from "./harness.ts";
import { secretText } from "./probe.ts";

let harness: Harness;

/** The two forms in which a stream's handler is written. */
const streams = ["count", "push"] as const;
type Behaviour = { count?: number; bytes?: number; ending?: Ending };

function open(
  form: (typeof streams)[number],
  behaviour: Behaviour,
  options: CallOptions = known,
): AsyncIterable<CountResponse | PushResponse> {
  return harness.client[form]({ behaviour }, withCallOptions(options));
}

async function entered(): Promise<void> {
  await eventually("the handler runs", () => harness.probe.entered === 1);
}

describe.each(transports)("%s", (name) => {
  beforeEach(async () => {
    harness = await createHarness(name);
  });
  afterEach(async () => {
    await nothingIsLeft(harness);
    await harness[Symbol.asyncDispose]();
  });

  test("headers go both ways, and credentials stop at the border", async () => {
    const headers = { "x-probe-question": "is it", authorization: "Bearer weir_secret" };
    const heard: string[] = [];
    const onHeader = (answer: Headers) => heard.push(answer.get("x-probe-answer") ?? "none");
    await harness.client.ask({}, { ...withCallOptions({ ...known, headers }), onHeader });
    for (const form of streams) {
      await indexesOf(
        harness.client[form]({ behaviour: { count: 1 } }, { ...withCallOptions({ ...known, headers }), onHeader }),
      );
    }
    expect(heard).toEqual(["is it heard", "is it heard", "is it heard"]);
    const sent = [...(harness.probe.context?.requestHeaders.keys() ?? [])];
    expect(sent.filter((header) => /authorization|token|principal/.test(header))).toEqual([]);
  });

  test("what one side changes later, the other does not see", async () => {
    const items = ["a"];
    const answer = await harness.client.ask({ items }, withCallOptions(known));
    expect(items).toEqual(["a"]);
    harness.probe.kept?.items.push("later");
    expect(answer.items).toEqual(["a", "changed by the handler"]);
    answer.items.length = 0;
    expect(harness.probe.kept?.items).toHaveLength(3);
  });

  test("a handler's headers are a copy", async () => {
    const headers = new Headers({ "x-probe-question": "mine" });
    const asking = harness.client.ask({ behaviour: { ending: Ending.STALL } }, withCallOptions({ ...known, headers }));
    await entered();
    harness.probe.context?.requestHeaders.set("x-probe-question", "theirs");
    expect(headers.get("x-probe-question")).toBe("mine");
    harness.clock.advance(30_000);
    await failureOf(asking);
  });

  describe("errors", () => {
    test.each(["ask", ...streams] as const)(
      "a failure of %s arrives with its details and without its cause",
      async (form) => {
        const work =
          form === "ask"
            ? harness.client.ask({ behaviour: { ending: Ending.FAIL } }, withCallOptions(known))
            : indexesOf(open(form, { count: 2, ending: Ending.FAIL }));
        const error = await failureOf(work);
        expect(error.reason).toBe(ErrorReason.QUEUE_FULL);
        expect(error.facts).toEqual({ model: "m", queue_max: "7" });
        expect(error.retryAfterMs).toBe(1_500);
        expect(textOf(error)).not.toContain(secretText);
      },
    );

    test.each(["ask", ...streams] as const)(
      "a defect of %s is hidden from the caller and logged once",
      async (form) => {
        const work =
          form === "ask"
            ? harness.client.ask({ behaviour: { ending: Ending.BREAK } }, withCallOptions(known))
            : indexesOf(open(form, { count: 2, ending: Ending.BREAK }));
        const error = await failureOf(work);
        expect(error.reason).toBe(ErrorReason.INTERNAL);
        expect(error.facts).toEqual({ request_id: requestId });
        expect(textOf(error)).not.toContain(secretText);
        const logged = harness.lines.filter((line) => JSON.stringify(line).includes(secretText));
        expect(logged).toMatchObject([{ message: "call failed unexpectedly", request_id: requestId }]);
      },
    );

    test.each(streams)("what %s said before it failed arrives", async (form) => {
      const seen: number[] = [];
      const reading = async () => {
        for await (const { index } of open(form, { count: 3, ending: Ending.FAIL })) seen.push(index);
      };
      expect((await failureOf(reading())).reason).toBe(ErrorReason.QUEUE_FULL);
      expect(seen).toEqual([0, 1, 2]);
    });
  });

  describe("deadline", () => {
    test.each(["ask", ...streams] as const)("the method's own ends %s while its handler stalls", async (form) => {
      const work = stall(form);
      await entered();
      harness.clock.advance(29_999);
      expect(harness.probe.running).toBe(1);
      harness.clock.advance(1);
      const error = await failureOf(work);
      expect(error.reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
      expect(error.facts["deadline_ms"]).toBe("30000");
      expect(harness.probe.context?.signal.aborted).toBe(true);
    });

    test.each(["ask", ...streams] as const)("the caller's shorter one ends %s", async (form) => {
      const work = stall(form, { ...known, timeoutMs: 200 });
      await entered();
      harness.clock.advance(200);
      expect((await failureOf(work)).reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
      await eventually("the handler hears of it", () => harness.probe.context?.signal.aborted === true);
    });

    test.each([0, -5])("a call with %i ms left does not start", async (timeoutMs) => {
      const error = await failureOf(harness.client.ask({}, withCallOptions({ ...known, timeoutMs })));
      expect(error.reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
      expect(harness.probe.entered).toBe(0);
    });

    test("the caller's longer one is cut to the method's", async () => {
      const work = stall("ask", { ...known, timeoutMs: 3_600_000 });
      await entered();
      expect((harness.probe.context?.deadlineMs ?? 0) - harness.clock.monotonicMs()).toBe(30_000);
      harness.clock.advance(30_000);
      expect((await failureOf(work)).reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
    });
  });

  describe("the caller leaves", () => {
    test.each(["ask", ...streams] as const)("cancel ends %s while its handler stalls", async (form) => {
      const controller = new AbortController();
      const work = stall(form, { ...known, signal: controller.signal });
      await entered();
      controller.abort();
      expect((await failureOf(work)).reason).toBe(ErrorReason.CANCELLED);
      await eventually("the handler hears of it", () => harness.probe.context?.signal.aborted === true);
    });

    test.each(["ask", ...streams] as const)(
      "a call of %s that is cancelled before it starts does not start",
      async (form) => {
        const error = await failureOf(stall(form, { ...known, signal: AbortSignal.abort() }));
        expect(error.reason).toBe(ErrorReason.CANCELLED);
        expect(harness.probe.entered).toBe(0);
      },
    );

    test.each(streams)("break ends %s", async (form) => {
      for await (const { index } of open(form, { count: 1_000_000, bytes: 1_000 })) if (index === 2) break;
      await left();
      expect(harness.probe.running).toBe(0);
    });

    test.each(streams)("return ends %s that was not even read", async (form) => {
      const messages = open(form, { count: 1_000_000, bytes: 1_000 })[Symbol.asyncIterator]();
      await entered();
      await messages.return?.();
      expect(await messages.next()).toMatchObject({ done: true });
      await left();
    });

    test.each(streams)("an exception in the loop ends %s", async (form) => {
      const reading = async () => {
        for await (const { index } of open(form, { count: 1_000_000, bytes: 1_000 })) {
          if (index === 2) throw new RangeError("the consumer's own");
        }
      };
      await expect(reading()).rejects.toThrow(RangeError);
      await left();
    });

    test.each(streams)("withStream ends %s when it has read enough", async (form) => {
      const first = await withStream(
        undefined,
        (signal) => open(form, { count: 1_000_000, bytes: 1_000 }, { ...known, signal }),
        async (messages) => (await messages[Symbol.asyncIterator]().next()).value?.index,
      );
      expect(first).toBe(0);
      await left();
    });

    test.each(["ask", ...streams] as const)("a revoked key ends %s with the reason", async (form) => {
      const work = stall(form);
      await entered();
      harness.identity.revoke("key1");
      expect((await failureOf(work)).reason).toBe(ErrorReason.KEY_REVOKED);
      expect(harness.probe.context?.signal.aborted).toBe(true);
    });
  });

  describe("streams", () => {
    test.each(streams)("many messages of %s arrive in order and whole", async (form) => {
      let next = 0;
      for await (const { index, filling } of open(form, { count: 10_000, bytes: 100 })) {
        if (index !== next || filling.length !== 100) throw new Error(`message ${next} is ${index}`);
        next += 1;
      }
      expect(next).toBe(10_000);
    });

    test.each(streams)("large messages of %s arrive whole", async (form) => {
      const sizes: number[] = [];
      for await (const { filling } of open(form, { count: 24, bytes: 1_000_000 })) sizes.push(filling.length);
      expect(sizes).toEqual(Array.from({ length: 24 }, () => 1_000_000));
    });

    test.each(streams)("a slow reader holds a fast %s", async (form) => {
      const messages = open(form, { count: 100_000, bytes: 16_384 })[Symbol.asyncIterator]();
      for (let index = 0; index < 3; index++) await messages.next();
      const produced = await settled(() => harness.probe.produced);
      // On a wire, its windows and buffers fill up too: well below what an unheld producer would have made.
      expect(produced).toBeLessThan(name === "direct" ? 100 : 1_000);
      for (let index = 3; index < 500; index++) expect((await messages.next()).value?.index).toBe(index);
      await messages.return?.();
      await left();
    });

    test.each(streams)("an empty stream of %s ends", async (form) => {
      expect(await indexesOf(open(form, {}))).toEqual([]);
    });
  });
});

function stall(form: "ask" | (typeof streams)[number], options: CallOptions = known): Promise<unknown> {
  const behaviour = { ending: Ending.STALL };
  const work =
    form === "ask"
      ? harness.client.ask({ behaviour }, withCallOptions(options))
      : indexesOf(open(form, behaviour, options));
  // It is awaited later, when it may have failed already.
  work.catch(() => undefined);
  return work;
}

/** The handler was told, and has ended. */
async function left(): Promise<void> {
  await eventually("the handler ends", () => harness.probe.entered === 1 && harness.probe.running === 0);
  expect(harness.probe.context?.signal.aborted).toBe(true);
}

/** A number that grew, when it has stopped growing for a while. */
async function settled(read: () => number): Promise<number> {
  let last = -1;
  let quietSinceMs = performance.now();
  await eventually("it stops growing", () => {
    const now = read();
    if (now !== last) quietSinceMs = performance.now();
    last = now;
    return performance.now() - quietSinceMs > 250;
  });
  return last;
}
