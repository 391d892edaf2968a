import type { DescMethodServerStreaming, Message, MessageShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import type { Clock } from "../clock.ts";
import { withCallOptions } from "./call-options.ts";
import { originOf } from "./caller-context.ts";
import type { CallContext } from "./context.ts";
import type { Cancel, Sink } from "./push.ts";
import { pushFromStream } from "./push-from-stream.ts";

/** A push call to a method at a peer. The answer's headers are in the context before the first event. */
export function pushToPeer<M extends DescMethodServerStreaming>(
  transport: Transport,
  clock: Clock,
  method: M,
  request: MessageShape<M["input"]>,
  context: CallContext,
  sink: Sink<MessageShape<M["output"]>>,
): Cancel {
  const origin = originOf(context, clock.monotonicMs());
  const values = withCallOptions({
    ...(origin.principal ? { principal: origin.principal } : {}),
    requestId: origin.requestId,
    trusted: origin.trusted,
  }).contextValues;
  const timeoutMs = Number.isFinite(origin.timeoutMs) ? origin.timeoutMs : undefined;
  const open = async (signal: AbortSignal): Promise<AsyncIterable<Message>> => {
    const ended = origin.callerSignal ? AbortSignal.any([signal, origin.callerSignal]) : signal;
    const response = await transport.stream(method, ended, timeoutMs, origin.sentHeaders(), one(request), values);
    const headers = origin.answerHeaders();
    for (const [name, value] of response.header) headers.set(name, value);
    return response.message;
  };
  return pushFromStream(open, sink);
}

async function* one<T>(value: T): AsyncIterable<T> {
  yield value;
}
