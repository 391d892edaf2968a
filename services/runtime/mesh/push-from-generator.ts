import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import type { CallContext } from "./context.ts";
import { copyOf } from "./copy.ts";
import { pump } from "./pump.ts";
import type { PushHandler } from "./push.ts";

/**
 * A handler written as a generator, in push form. It is pulled only while the consumer has room; a cancel aborts its
 * signal (which the gate does) and makes it return at its next `yield`.
 */
export function pushFromGenerator<I extends Message, D extends DescMessage>(
  output: D,
  handler: (request: I, context: CallContext) => AsyncIterable<MessageInitShape<D>>,
): PushHandler<I, Message> {
  return (request, context, sink) => {
    const messages = handler(request, context)[Symbol.asyncIterator]();
    const stop = pump<Message>(copied(output, messages), sink);
    return stop;
  };
}

// A generator may yield the same message again, changed: each yield is a copy.
function copied<D extends DescMessage>(
  output: D,
  messages: AsyncIterator<MessageInitShape<D>>,
): AsyncIterator<Message> {
  return {
    async next() {
      const result = await messages.next();
      return result.done ? { done: true, value: undefined } : { done: false, value: copyOf(output, result.value) };
    },
    async return() {
      await messages.return?.();
      return { done: true, value: undefined };
    },
  };
}
