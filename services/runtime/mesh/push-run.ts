import type { Message } from "@bufbuild/protobuf";
import { type WeirError, weirErrorFrom } from "../errors/fail.ts";
import type { Outcomes } from "./outcome.ts";
import type { Cancel, PushHandler, Sink } from "./push.ts";
import type { RunningCall } from "./running-call.ts";

/**
 * A pushed call between its handler and its consumer: nothing passes before it is armed or after it is over, and it is
 * over once, by whichever comes first: the handler's `end` or `fail`, the consumer's cancel, or what stops the call.
 */
export class PushRun implements Sink<Message> {
  readonly #call: RunningCall;
  readonly #consumer: Sink<Message>;
  readonly #outcomes: Outcomes;
  #cancel: Cancel | undefined;
  #stoppedBy: WeirError | undefined;

  constructor(call: RunningCall, consumer: Sink<Message>, outcomes: Outcomes) {
    this.#call = call;
    this.#consumer = consumer;
    this.#outcomes = outcomes;
  }

  /** Runs the handler. */
  start(handler: PushHandler<Message, Message>, request: Message): void {
    try {
      this.#cancel = handler(request, this.#call, this);
    } catch (thrown) {
      this.fail(weirErrorFrom(thrown));
      return;
    }
    // What stops a call may come while its handler starts: from within the consumer, say.
    if (this.#stoppedBy) this.#cancel(this.#stoppedBy);
  }

  /** The consumer leaves: it hears nothing more. */
  leave(reason: WeirError): void {
    if (this.#call.over) return;
    this.#outcomes.fail(this.#call, reason);
    this.#halt(reason);
  }

  /** The call is stopped by something else than its handler and its consumer. */
  stop(reason: WeirError): void {
    if (this.#call.over) return;
    const told = this.#outcomes.fail(this.#call, reason);
    this.#halt(reason);
    this.#consumer.fail(told);
  }

  #halt(reason: WeirError): void {
    this.#stoppedBy = reason;
    this.#call.abort(reason);
    this.#cancel?.(reason);
  }

  event(message: Message): void {
    if (!this.#call.over) this.#consumer.event(message);
  }

  turn(): void {
    if (!this.#call.over) this.#consumer.turn();
  }

  end(): void {
    if (this.#call.over) return;
    this.#outcomes.succeed(this.#call);
    this.#consumer.end();
  }

  fail(error: WeirError): void {
    if (this.#call.over) return;
    this.#consumer.fail(this.#outcomes.fail(this.#call, error));
  }

  full(): boolean {
    return this.#consumer.full();
  }

  get resume(): (() => void) | undefined {
    return this.#consumer.resume;
  }

  set resume(go: (() => void) | undefined) {
    this.#consumer.resume = go;
  }
}
