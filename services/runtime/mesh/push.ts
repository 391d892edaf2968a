import type { DescMessage, DescMethodServerStreaming, Message, MessageShape } from "@bufbuild/protobuf";
import type { WeirError } from "../errors/fail.ts";
import type { CallContext } from "./context.ts";

/**
 * Where a pushed stream goes. The producer calls `event` for each message and `turn` when it has nothing more to say in
 * this turn of the event loop, so that the consumer writes once a turn. Exactly one of `end` and `fail` comes last;
 * after it, or after `cancel`, nothing may be said.
 */
export interface Sink<T> {
  /** The next message. It belongs to the consumer from here on: do not change it. */
  event(message: T): void;
  /** That was all for this turn: write what you hold. */
  turn(): void;
  /** The stream is complete. */
  end(): void;
  /** The stream failed. */
  fail(error: WeirError): void;
  /** The consumer holds as much as it wants: stop producing until it calls `resume`. Advice, which is checked a turn. */
  full(): boolean;
  /** Set by the producer: the consumer calls it when it is no longer full. */
  resume: (() => void) | undefined;
}

/** Ends a running push call from the consumer's side. It may be called any number of times, also after the end. */
export type Cancel = (reason: WeirError) => void;

/**
 * The push form of a server-streaming method. It returns at once with the way to cancel. What goes wrong, also at once,
 * is told by `sink.fail`: it never throws. A cancelled call says nothing more to its sink.
 */
export type PushHandler<I, O> = (request: I, context: CallContext, sink: Sink<O>) => Cancel;

/** A handler that {@link pushed} marked. */
export interface Pushed<I, O> {
  readonly push: PushHandler<I, O>;
}

/** Marks a handler as pushed, in a service's implementation. */
export function pushed<I, O>(push: PushHandler<I, O>): Pushed<I, O> {
  return { push };
}

/** Whether an implementation is one that {@link pushed} marked. */
export function isPushed(value: unknown): value is Pushed<Message, Message> {
  return typeof value === "object" && value !== null && "push" in value && typeof value.push === "function";
}

/**
 * A server-streaming method as its caller pushes it. The request belongs to the handler from the call on: neither side
 * changes it any more.
 */
export type PushCall<M extends DescMethodServerStreaming<DescMessage, DescMessage>> = PushHandler<
  MessageShape<M["input"]>,
  MessageShape<M["output"]>
>;
