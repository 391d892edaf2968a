import type { WeirError } from "../../services/runtime/errors/fail.ts";
import type { Sink } from "../../services/runtime/mesh/push.ts";

/** A consumer that writes down what it is told, and holds the producer to the contract of {@link Sink}. */
export class RecordingSink<T> implements Sink<T> {
  readonly events: T[] = [];
  turns = 0;
  ended = false;
  error: WeirError | undefined;
  isFull = false;
  resume: (() => void) | undefined;
  /** Runs with each event, before `event` returns. */
  onEvent: ((message: T) => void) | undefined;
  #left = false;

  /** The consumer cancelled: nothing may come from here on. */
  left(): void {
    this.#left = true;
  }

  get over(): boolean {
    return this.ended || this.error !== undefined;
  }

  event(message: T): void {
    this.#mayBeTold("an event");
    this.events.push(message);
    this.onEvent?.(message);
  }

  turn(): void {
    this.turns += 1;
  }

  end(): void {
    this.#mayBeTold("the end");
    this.ended = true;
  }

  fail(error: WeirError): void {
    this.#mayBeTold("a failure");
    this.error = error;
  }

  full(): boolean {
    return this.isFull;
  }

  #mayBeTold(what: string): void {
    if (this.over) throw new Error(`${what} after the end`);
    if (this.#left) throw new Error(`${what} after a cancel`);
  }
}
