import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { PrincipalSchema } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../../../services/runtime/errors/fail.ts";
import { callContext } from "../../../services/runtime/mesh/caller-context.ts";
import { createDirectPush } from "../../../services/runtime/mesh/direct.ts";
import { createGate } from "../../../services/runtime/mesh/gate.ts";
import { type PushHandler, pushed, type Sink } from "../../../services/runtime/mesh/push.ts";
import { pullFromPush } from "../../../services/runtime/mesh/push-to-iterable.ts";
import { createRegistry } from "../../../services/runtime/mesh/registry.ts";
import { createLog } from "../../../services/runtime/telemetry/log.ts";
import { createMetrics } from "../../../services/runtime/telemetry/metrics.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";
import {
  type PushRequest,
  PushRequestSchema,
  type PushResponse,
  PushResponseSchema,
  ProbeService,
} from "../../rpc/gen/acceptance/v1/probe_service_pb.ts";
import { createProbe, ProbeLog } from "../../rpc/probe.ts";
import { ownersOf } from "../../fakes/project-owners.ts";

/** Everything that a consumer hears, in order. */
class Heard implements Sink<PushResponse> {
  readonly said: string[] = [];
  resume: (() => void) | undefined;
  onEvent: () => void = () => {};

  event({ index }: PushResponse): void {
    this.said.push(`event ${index}`);
    this.onEvent();
  }
  turn(): void {
    this.said.push("turn");
  }
  end(): void {
    this.said.push("end");
  }
  fail({ reason }: WeirError): void {
    this.said.push(`fail ${Object.entries(ErrorReason).find(([, value]) => value === reason)?.[0]}`);
  }
  full(): boolean {
    return false;
  }
}

const message = (index: number) => create(PushResponseSchema, { index });
const principal = create(PrincipalSchema, { keyId: "k", orgId: "o", projectId: "p", permissions: ["*"] });
const request = create(PushRequestSchema, { behaviour: {} });

/** A process whose one pushed handler is the given one. */
function processWith(handler: PushHandler<PushRequest, PushResponse>, revoked = false) {
  const clock = new SimulatedClock();
  const identity = {
    authenticate: () => principal,
    onRevoked(_keyId: string, listener: (error: WeirError) => void) {
      if (revoked) listener(fail(ErrorReason.KEY_REVOKED));
      return () => undefined;
    },
  };
  const registry = createRegistry();
  registry.add(ProbeService, { ...createProbe(new ProbeLog()), push: pushed(handler) });
  const log = createLog("error", { write: () => undefined });
  const gate = createGate({
    clock,
    log,
    metrics: createMetrics(),
    identity,
    owners: ownersOf({ project1: "org1", project2: "org1", project3: "org2" }),
  });
  return { clock, push: createDirectPush({ registry, gate, clock }, ProbeService.method.push) };
}

const context = (signal?: AbortSignal) =>
  callContext(ProbeService.method.push, { principal, ...(signal ? { signal } : {}) });

test("a warm call is through before it returns", () => {
  const { push, clock } = processWith((_request, _context, sink) => {
    sink.event(message(1));
    sink.turn();
    sink.end();
    return () => {};
  });
  const heard = new Heard();
  push(request, context(), heard);
  expect(heard.said).toEqual(["event 1", "turn", "end"]);
  expect(clock.pendingTimers).toBe(0);
});

/** What a handler says that does not listen. */
function ramble(sink: Sink<PushResponse>): void {
  sink.event(message(9));
  sink.turn();
  sink.end();
  sink.fail(fail(ErrorReason.QUEUE_FULL));
}

test.each([
  ["the consumer's cancel", (cancel: (reason: WeirError) => void) => cancel(fail(ErrorReason.CANCELLED)), []],
  ["the deadline", (_: unknown, clock: SimulatedClock) => clock.advance(30_000), ["fail DEADLINE_EXCEEDED"]],
  ["its own end", (_: unknown, __: unknown, sink: Sink<PushResponse>) => sink.end(), ["end"]],
] as const)("after %s a handler is not heard, whatever it says", (_name, over, said) => {
  let its: Sink<PushResponse> | undefined;
  const { push, clock } = processWith((_request, _context, sink) => {
    its = sink;
    return () => {};
  });
  const heard = new Heard();
  const cancel = push(request, context(), heard);
  if (its === undefined) throw new Error("the handler did not start");
  over(cancel, clock, its);
  ramble(its);
  expect(heard.said).toEqual(said);
});

test("a handler that throws where it never should has failed", () => {
  const { push, clock } = processWith(() => {
    throw new TypeError("a defect");
  });
  const heard = new Heard();
  push(request, context(), heard);
  expect(heard.said).toEqual(["fail INTERNAL"]);
  expect(clock.pendingTimers).toBe(0);
});

test("a call that is stopped while its handler starts is cancelled once it has", () => {
  let cancelled = 0;
  const { push } = processWith((_request, _context, sink) => {
    sink.event(message(1));
    return () => void cancelled++;
  });
  const controller = new AbortController();
  const heard = new Heard();
  heard.onEvent = () => controller.abort();
  push(request, context(controller.signal), heard);
  expect(heard.said).toEqual(["event 1", "fail CANCELLED"]);
  expect(cancelled).toBe(1);
});

test("a key that was revoked just before starts nothing", () => {
  let started = 0;
  const { push, clock } = processWith(() => {
    started += 1;
    return () => {};
  }, true);
  const heard = new Heard();
  push(request, context(), heard);
  expect(heard.said).toEqual(["fail KEY_REVOKED"]);
  expect(started).toBe(0);
  expect(clock.pendingTimers).toBe(0);
});

test("a producer that does not pause is cut before it fills the memory", async () => {
  let cancelledFor: ErrorReason | undefined;
  const produce: { sink?: Sink<number> } = {};
  const stream = pullFromPush<number>((sink) => {
    produce.sink = sink;
    return ({ reason }) => {
      cancelledFor = reason;
    };
  }, 4);
  for (let index = 0; index < 10_000; index++) produce.sink?.event(index);
  expect(cancelledFor).toBe(ErrorReason.SLOW_READER);
  await expect(stream.next()).rejects.toMatchObject({ reason: ErrorReason.SLOW_READER });
  expect(await stream.next()).toMatchObject({ done: true });
});

test("what waits is handed out before an error that came after it", async () => {
  const produce: { sink?: Sink<number> } = {};
  const stream = pullFromPush<number>((sink) => {
    produce.sink = sink;
    return () => {};
  }, 4);
  produce.sink?.event(1);
  produce.sink?.fail(fail(ErrorReason.QUEUE_FULL));
  expect(await stream.next()).toEqual({ done: false, value: 1 });
  await expect(stream.next()).rejects.toMatchObject({ reason: ErrorReason.QUEUE_FULL });
});
