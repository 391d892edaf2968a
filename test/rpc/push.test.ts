import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../../services/runtime/errors/fail.ts";
import { callContext } from "../../services/runtime/mesh/caller-context.ts";
import type { CallContext, CallOptions } from "../../services/runtime/mesh/context.ts";
import type { Sink } from "../../services/runtime/mesh/push.ts";
import { eventually } from "./eventually.ts";
import {
  CountRequestSchema,
  type CountResponse,
  Ending,
  ProbeService,
  PushRequestSchema,
  type PushResponse,
} from "./gen/acceptance/v1/probe_service_pb.ts";
import { createHarness, type Harness, principal } from "./harness.ts";

let harness: Harness;
const known = { principal: principal() } satisfies CallOptions;

/** Takes what is pushed, and is full whenever the test says so. */
class Taking implements Sink<CountResponse | PushResponse> {
  readonly indexes: number[] = [];
  turns = 0;
  outcome: "open" | "ended" | WeirError = "open";
  isFull = false;
  resume: (() => void) | undefined;

  event({ index }: CountResponse | PushResponse): void {
    if (this.outcome !== "open") throw new Error("an event after the end");
    this.indexes.push(index);
  }
  turn(): void {
    this.turns += 1;
  }
  end(): void {
    if (this.outcome !== "open") throw new Error("it ended twice");
    this.outcome = "ended";
  }
  fail(error: WeirError): void {
    if (this.outcome !== "open") throw new Error("it ended twice");
    this.outcome = error;
  }
  full(): boolean {
    return this.isFull;
  }
  get reason(): ErrorReason | undefined {
    return typeof this.outcome === "string" ? undefined : this.outcome.reason;
  }
  over(): Promise<void> {
    return eventually("the stream is over", () => this.outcome !== "open");
  }
}

type Behaviour = { count?: number; bytes?: number; ending?: Ending };
const forms = ["count", "push"] as const;

function push(form: (typeof forms)[number], behaviour: Behaviour, sink: Taking, options: CallOptions = known) {
  const context = callContext(ProbeService.method[form], options);
  return { context, cancel: pushWith(form, behaviour, sink, context) };
}

function pushWith(form: (typeof forms)[number], behaviour: Behaviour, sink: Taking, context: CallContext) {
  if (form === "count") {
    return harness.mesh.push(ProbeService.method.count)(create(CountRequestSchema, { behaviour }), context, sink);
  }
  return harness.mesh.push(ProbeService.method.push)(create(PushRequestSchema, { behaviour }), context, sink);
}

describe.each(["direct", "Connect over HTTP/2"] as const)("pushed, %s", (name) => {
  beforeEach(async () => {
    harness = await createHarness(name);
  });
  afterEach(async () => {
    await eventually("handlers have ended", () => harness.probe.running === 0);
    await eventually("timers are cleared", () => harness.clock.pendingTimers === 0);
    await harness[Symbol.asyncDispose]();
  });

  describe.each(forms)("a handler of the form %s", (form) => {
    test("its messages arrive in order, then the end", async () => {
      const sink = new Taking();
      push(form, { count: 500, bytes: 10 }, sink);
      await sink.over();
      expect(sink.outcome).toBe("ended");
      expect(sink.indexes).toEqual(Array.from({ length: 500 }, (_, index) => index));
    });

    test("its failure comes after its messages, with details and without the cause", async () => {
      const sink = new Taking();
      push(form, { count: 3, ending: Ending.FAIL }, sink);
      await sink.over();
      expect(sink.indexes).toEqual([0, 1, 2]);
      expect(sink.outcome).toMatchObject({
        reason: ErrorReason.QUEUE_FULL,
        facts: { model: "m", queue_max: "7" },
        retryAfterMs: 1_500,
      });
    });

    test("a refusal is told to the sink", async () => {
      const sink = new Taking();
      push(form, { count: 1 }, sink, { principal: principal({ permissions: [] }) });
      await sink.over();
      expect(sink.reason).toBe(ErrorReason.PERMISSION_DENIED);
    });

    test("headers go both ways", async () => {
      const sink = new Taking();
      const { context } = push(form, { count: 1 }, sink, { ...known, headers: { "x-probe-question": "who" } });
      await sink.over();
      expect(context.responseHeaders.get("x-probe-answer")).toBe("who heard");
    });

    test("headers are those of the time when the context was made", async () => {
      const sink = new Taking();
      const headers = new Headers({ "x-probe-question": "first" });
      const context = callContext(ProbeService.method[form], { ...known, headers });
      headers.set("x-probe-question", "later");
      pushWith(form, { count: 1 }, sink, context);
      await sink.over();
      expect(context.responseHeaders.get("x-probe-answer")).toBe("first heard");
    });

    test("cancel is prompt, and nothing is said after it", async () => {
      const sink = new Taking();
      const { cancel } = push(form, { count: 1_000_000, bytes: 100 }, sink);
      await eventually("it streams", () => sink.indexes.length > 3);
      cancel(fail(ErrorReason.CANCELLED));
      cancel(fail(ErrorReason.CANCELLED));
      const taken = sink.indexes.length;
      await eventually("the handler ends", () => harness.probe.running === 0);
      expect(harness.probe.context?.signal.aborted).toBe(true);
      expect(sink.indexes).toHaveLength(taken);
      expect(sink.outcome).toBe("open");
    });

    test("cancel reaches a handler that stalls", async () => {
      const sink = new Taking();
      const { cancel } = push(form, { ending: Ending.STALL }, sink);
      await eventually("the handler runs", () => harness.probe.running === 1);
      cancel(fail(ErrorReason.CANCELLED));
      await eventually("the handler ends", () => harness.probe.running === 0);
      expect(sink.outcome).toBe("open");
    });

    test("the caller's signal ends it", async () => {
      const sink = new Taking();
      const controller = new AbortController();
      push(form, { ending: Ending.STALL }, sink, { ...known, signal: controller.signal });
      await eventually("the handler runs", () => harness.probe.running === 1);
      controller.abort();
      await sink.over();
      expect(sink.reason).toBe(ErrorReason.CANCELLED);
    });

    test("the deadline ends it while the handler stalls", async () => {
      const sink = new Taking();
      push(form, { ending: Ending.STALL }, sink);
      await eventually("the handler runs", () => harness.probe.running === 1);
      harness.clock.advance(30_000);
      await sink.over();
      expect(sink.reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
    });

    test("a full sink holds the producer until it resumes", async () => {
      const sink = new Taking();
      sink.isFull = true;
      push(form, { count: 1_000, bytes: 16_384 }, sink);
      await eventually("the producer waits", () => sink.resume !== undefined);
      const taken = sink.indexes.length;
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(sink.indexes).toHaveLength(taken);
      expect(taken).toBeLessThan(100);
      expect(harness.probe.produced).toBeLessThan(name === "direct" ? 100 : 600);
      sink.isFull = false;
      sink.resume?.();
      await sink.over();
      expect(sink.indexes).toHaveLength(1_000);
    });

    test("a handler passes its own context on", async () => {
      const first = new Taking();
      const options: CallOptions = { ...known, requestId: "019aa7b0-0000-7000-8000-000000000002" };
      push(form, { ending: Ending.STALL }, first, options);
      await eventually("the handler runs", () => harness.probe.running === 1);
      const outer = harness.probe.context;
      if (outer === undefined) throw new Error("no handler ran");
      harness.clock.advance(10_000);
      const nested = new Taking();
      pushWith(form, { count: 1 }, nested, outer);
      await nested.over();
      const inner = harness.probe.context;
      expect(inner).not.toBe(outer);
      expect(inner?.requestId).toBe(outer.requestId);
      expect(inner?.principal).toEqual(outer.principal);
      // A wire's timer counts on by itself, in real time.
      const leftMs = (inner?.deadlineMs ?? 0) - harness.clock.monotonicMs();
      expect(leftMs).toBeGreaterThan(name === "direct" ? 19_999 : 19_000);
      expect(leftMs).toBeLessThanOrEqual(20_000);
      harness.clock.advance(20_000);
      await first.over();
    });
  });
});
