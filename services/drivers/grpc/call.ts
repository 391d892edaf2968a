import type { Timer } from "../../runtime/clock.ts";
import { Answer } from "../answer.ts";
import type { Attempt, AttemptSink, Target } from "../driver.ts";
import { scrubbed } from "../engine-text.ts";
import { type Failure, failed, protocol, unavailable } from "../failure.ts";
import type { Channel, Rpc } from "./channel.ts";
import type { StatusError } from "./status-error.ts";
import type { Call } from "./stream-call.ts";

/** How long a server may take to end a call after the last message; one that does not would keep it for ever. */
const endTimeoutMs = 1_000;

/** What an engine's protocol makes of the responses of one generation. */
export interface Listener<O> {
  /**
   * A response came, and the answer is open. It calls `touch` if the response is a sign of life.
   * @throws EngineGaveUp if the engine did; any other error is a response that breaks the protocol.
   */
  message(response: O): void;
  /** What the status of a call means. */
  failureFrom(code: number, text: string): Failure;
  /** All has come, and it ends the answer itself once it knows how: no end of the call says anything more. */
  readonly settling?: boolean;
  /** The call was given up while the engine may work on; it was cancelled already. */
  givenUp?(): void;
}

/** The engine ended a choice without having finished it. */
export class EngineGaveUp extends Error {}

export interface CallOptions {
  readonly channel: Channel;
  readonly target: Target;
  readonly attempt: Attempt;
  readonly sink: AttemptSink;
  /** Whether the engine was asked to stream. */
  readonly streams: boolean;
  readonly ignored: readonly string[];
  /** False: a cancel does not stop the engine, so its answer is read to the end, and it is known when it is free. */
  readonly stops?: boolean;
}

/**
 * The call of one generation: what comes of it goes to a listener, and its ends to the answer.
 *
 * The call has one request and is half-closed at once, so an end of the call is an end of the generation. An end with a
 * status fails the answer unless all that was asked for had come.
 */
export class GenerationCall {
  readonly answer: Answer;
  readonly #options: CallOptions;
  #call: Call | undefined;
  #givenUp: (() => void) | undefined;
  /** The call itself has ended. */
  #ended = false;
  /** Nobody wants the answer, and the engine goes on with it: runs at its end. */
  #lingering: (() => void) | undefined;
  #timer: Timer | undefined;

  constructor(options: CallOptions) {
    const { attempt, target, sink, streams, ignored } = options;
    this.#options = options;
    const engine = {
      pause: () => this.#call?.pause(),
      resume: () => this.#call?.resume(),
      release: (stop: boolean) => this.#release(stop),
    };
    this.answer = new Answer({ attempt, target, sink, engine, streams, ignored });
  }

  /** Sends the request. Nothing is told before this returns but that the channel is closed. */
  start<I, O>(rpc: Rpc<I, O>, request: I, listener: Listener<O>, headers?: Readonly<Record<string, string>>): void {
    try {
      const givenUp = (): void => listener.givenUp?.();
      this.#givenUp = givenUp;
      const receiver = {
        onMessage: (response: O) => this.#message(listener, response),
        onEnd: () => {
          this.#over();
          if (!listener.settling) this.answer.end();
        },
        onError: (error: StatusError) => this.#lost(listener, error),
      };
      this.#call = this.#options.channel.send(rpc, request, receiver, headers);
    } catch (thrown) {
      // The channel was closed meanwhile.
      this.answer.fail(this.answer.error(unavailable, thrown));
    }
  }

  #message<O>(listener: Listener<O>, response: O): void {
    // It goes on after its end: nobody reads that.
    if (!this.answer.open) return this.#lingering ? undefined : this.#call?.cancel();
    try {
      listener.message(response);
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : "a response that cannot be read";
      this.answer.fail(
        this.answer.error(thrown instanceof EngineGaveUp ? failed(text) : protocol(scrubbed(text)), thrown),
      );
    }
  }

  #lost<O>(listener: Listener<O>, error: StatusError): void {
    this.#over();
    if (!this.answer.open || listener.settling) return;
    this.answer.broke(this.answer.error(listener.failureFrom(error.code, error.details), error));
  }

  #over(): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#lingering?.();
  }

  #release(stop: boolean): void {
    this.#timer?.cancel();
    if (stop && this.#options.stops === false && this.#call && !this.#ended) this.#linger(this.#call);
    else if (stop) {
      this.#call?.cancel();
      this.#givenUp?.();
    } else if (!this.#ended) {
      this.#timer = this.#options.target.clock.setTimer(endTimeoutMs, () => this.#call?.cancel());
    }
  }

  #linger(call: Call): void {
    const { sink, target } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#lingering = resolve;
    this.#timer = target.clock.setTimer(target.totalMs, () => {
      call.cancel();
      resolve();
    });
    call.resume();
    sink.lingers(promise);
  }
}
