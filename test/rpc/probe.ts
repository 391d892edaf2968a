import { randomBytes } from "node:crypto";
import type { CallContext } from "../../services/runtime/mesh/context.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { pushed, type Sink } from "../../services/runtime/mesh/push.ts";
import type { ServiceImplementation } from "../../services/runtime/mesh/registry.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { create } from "@bufbuild/protobuf";
import {
  type AskResponse,
  AskResponseSchema,
  type Behaviour,
  type CountResponse,
  CountResponseSchema,
  Ending,
  type ProbeService,
  type PushResponse,
  PushResponseSchema,
} from "./gen/acceptance/v1/probe_service_pb.ts";

/** Text of an error that must never reach a caller. */
export const secretText = "password=hunter2 at 10.1.2.3";

/** What the handlers saw and did, for the suite to look at. */
export class ProbeLog {
  /** The context of the latest call. */
  context: CallContext | undefined;
  /** Calls that entered a handler, and those that left it. */
  entered = 0;
  left = 0;
  /** Messages that were produced. */
  produced = 0;
  /** What the handler keeps of an answer that it gave. */
  kept: AskResponse | undefined;

  get running(): number {
    return this.entered - this.left;
  }
}

const header = "x-probe-answer";

/** Implements the probe: both forms of streams behave alike. */
export function createProbe(log: ProbeLog): ServiceImplementation<typeof ProbeService> {
  const enter = (context: CallContext): void => {
    log.entered += 1;
    log.context = context;
    context.responseHeaders.set(header, `${context.requestHeaders.get("x-probe-question") ?? ""} heard`);
  };
  return {
    async ask(request, context) {
      enter(context);
      try {
        await endAs(request.behaviour?.ending, context.signal);
        request.items.push("changed by the handler");
        log.kept = create(AskResponseSchema, {
          keyId: context.principal?.keyId ?? "",
          scopeId: context.scope.id,
          requestId: context.requestId,
          items: request.items,
        });
        return log.kept;
      } finally {
        log.left += 1;
      }
    },
    async *count(request, context) {
      enter(context);
      // One message, changed between yields: each yield has to be what it was then.
      const message: CountResponse = create(CountResponseSchema);
      const { count = 0, bytes = 0, ending } = request.behaviour ?? {};
      try {
        for (let index = 0; index < count; index++) {
          message.index = index;
          message.filling = filling(bytes);
          log.produced += 1;
          yield message;
        }
        message.index = -1;
        await endAs(ending, context.signal);
      } finally {
        log.left += 1;
      }
    },
    push: pushed((request, context, sink) => {
      enter(context);
      return produce(request.behaviour, context, sink, log);
    }),
    change: () => ({}),
    exchange: (_request, context) => ({ keyId: context.principal?.keyId ?? "" }),
    forget() {
      log.entered += 1;
      return {};
    },
    async *forgetMany() {
      log.entered += 1;
      yield {};
    },
  };
}

/** Fails, breaks or stalls. A stall ends only by its signal. */
async function endAs(ending: Ending | undefined, signal: AbortSignal): Promise<void> {
  if (ending === Ending.FAIL) {
    throw fail(ErrorReason.QUEUE_FULL, { model: "m", queue_max: "7" }, { retryAfterMs: 1_500, cause: secretText });
  }
  if (ending === Ending.BREAK) throw new TypeError(secretText);
  if (ending === Ending.STALL) await aborted(signal);
}

async function aborted(signal: AbortSignal): Promise<never> {
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  throw signal.reason;
}

// Bytes that no compression makes fewer, so that what fills buffers is what was produced.
const noise = randomBytes(1_048_576);
const filling = (bytes: number) => noise.subarray(0, bytes);

const messagesPerTurn = 16;

function produce(behaviour: Behaviour | undefined, context: CallContext, sink: Sink<PushResponse>, log: ProbeLog) {
  const { count = 0, bytes = 0, ending } = behaviour ?? {};
  let index = 0;
  let over = false;
  const finish = () => {
    if (ending === Ending.STALL) return;
    over = true;
    log.left += 1;
    if (ending === Ending.FAIL) {
      sink.fail(
        fail(ErrorReason.QUEUE_FULL, { model: "m", queue_max: "7" }, { retryAfterMs: 1_500, cause: secretText }),
      );
    } else if (ending === Ending.BREAK) {
      sink.fail(fail(ErrorReason.INTERNAL, {}, { cause: new TypeError(secretText) }));
    } else sink.end();
  };
  const produceTurn = (): void => {
    if (over) return;
    for (let made = 0; made < messagesPerTurn && index < count && !over; made++) {
      log.produced += 1;
      sink.event(create(PushResponseSchema, { index, filling: filling(bytes) }));
      index += 1;
    }
    if (over) return;
    sink.turn();
    if (index >= count) finish();
    else if (sink.full()) {
      sink.resume = () => {
        sink.resume = undefined;
        setImmediate(produceTurn);
      };
    } else setImmediate(produceTurn);
  };
  // The signal is the same news as the cancel: a handler may listen to either.
  void context.signal;
  produceTurn();
  return () => {
    if (over) return;
    over = true;
    log.left += 1;
  };
}
