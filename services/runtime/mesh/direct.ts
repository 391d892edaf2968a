import {
  type DescMethod,
  type DescMethodServerStreaming,
  isMessage,
  type Message,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../clock.ts";
import { fail, WeirError } from "../errors/fail.ts";
import { callOptionsFrom } from "./call-options.ts";
import { CallerContext, originOf } from "./caller-context.ts";
import { copyOf, handedOver } from "./copy.ts";
import type { MethodEntry } from "./descriptor.ts";
import type { Gate } from "./gate.ts";
import { nothingToCancel } from "./pump.ts";
import type { Cancel, PushCall, Sink } from "./push.ts";
import { pullFromPush } from "./push-to-iterable.ts";
import type { Registry } from "./registry.ts";
import type { CallOrigin } from "./running-call.ts";

/** What calls within the process go through. */
export interface DirectOptions {
  readonly registry: Registry;
  readonly gate: Gate;
  readonly clock: Clock;
}

/**
 * A Connect transport to the services of this process: no bytes are made, and callers cannot tell. Requests and answers
 * are copied at the border, except where the push form or a trusted call hands them over.
 */
export function createDirectTransport({ registry, gate }: DirectOptions): Transport {
  return {
    async unary(method, signal, timeoutMs, headers, input, values) {
      const context = new CallerContext(method, callOptionsFrom(values, signal, timeoutMs, headers));
      const call = gate.admit(entryOf(registry, method), context);
      if (call instanceof WeirError) throw call;
      const message = await gate.unary(call, handedOver(method.input, input, context.trusted));
      if (!isMessage(message, method.output)) throw fail(ErrorReason.INTERNAL);
      const { parent: service } = method;
      return { stream: false, service, method, header: context.responseHeaders, trailer: new Headers(), message };
    },

    async stream(method, signal, timeoutMs, headers, input, values) {
      const context = new CallerContext(method, callOptionsFrom(values, signal, timeoutMs, headers));
      const entry = entryOf(registry, method);
      const request = copyOf(method.input, await firstOf(input));
      const message = pullFromPush<MessageShape<typeof method.output>>(
        (sink) => pushTo(gate, entry, context, request, sink),
        pendingMaxOf(entry),
      );
      await message.begun;
      const { parent: service } = method;
      return { stream: true, service, method, header: context.responseHeaders, trailer: new Headers(), message };
    },
  };
}

/** A method of this process in its push form: warm, nothing in it waits. */
export function createDirectPush<M extends DescMethodServerStreaming>(
  { registry, gate, clock }: DirectOptions,
  method: M,
): PushCall<M> {
  return (request, context, sink) => {
    const entry = registry.find(method);
    if (entry !== undefined) return pushTo(gate, entry, originOf(context, clock.monotonicMs()), request, sink);
    sink.fail(notServed(method));
    return nothingToCancel;
  };
}

/** Admits and runs a push call. */
function pushTo(gate: Gate, entry: MethodEntry, origin: CallOrigin, request: Message, sink: Sink<Message>): Cancel {
  const call = gate.admit(entry, origin);
  if (!(call instanceof WeirError)) return gate.push(call, request, sink);
  sink.fail(call);
  return nothingToCancel;
}

/** How many messages of a method may wait for a consumer who pulls. */
export function pendingMaxOf(entry: MethodEntry): number {
  return entry.handler?.kind === "server_streaming" ? entry.handler.pendingMax : 1;
}

/** Nobody in reach serves the method. */
function notServed(method: DescMethod): WeirError {
  return fail(ErrorReason.SERVICE_UNAVAILABLE, { service: method.parent.typeName });
}

function entryOf(registry: Registry, method: DescMethod): MethodEntry {
  const entry = registry.find(method);
  if (entry === undefined) throw notServed(method);
  return entry;
}

async function firstOf<T>(messages: AsyncIterable<T>): Promise<T> {
  const first = await messages[Symbol.asyncIterator]().next();
  if (first.done) throw fail(ErrorReason.INVALID_ARGUMENT, { code: "invalid_value", problem: "there is no request" });
  return first.value;
}
