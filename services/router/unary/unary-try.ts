import { type WeirError, weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Meter } from "../metering/meter.ts";
import type { Tried } from "../tries.ts";
import type { Dispatch } from "../usage/held-sink.ts";

/** Who hears how a try ended. It hears one of the two, once, unless it cancels before. */
export interface UnaryListener<A> {
  answered(from: UnaryTry<A>, answer: A): void;
  failed(from: UnaryTry<A>, error: WeirError): void;
}

/**
 * One try at one replica. It is **ready** until it is started or cancelled, **open** until the driver answers or fails, or
 * it is cancelled; then it is **closed**, and what the driver still says is not heard.
 */
export class UnaryTry<A> implements Tried, Dispatch {
  readonly meter: Meter;
  /** The engine was asked. */
  dispatched = false;
  /** The engine has answered. */
  accepted = false;
  /** Drivers tell of engines that they can't stop only where those generate. */
  readonly lingering = undefined;
  readonly #listener: UnaryListener<A>;
  readonly #controller = new AbortController();
  /** Until it starts: then it needs not hold on to the prompt. */
  #ask: ((signal: AbortSignal) => Promise<A>) | undefined;
  readonly #asksEngine: boolean;
  #open = true;

  /** @param asksEngine false: the gateway answers itself. */
  constructor(meter: Meter, ask: (signal: AbortSignal) => Promise<A>, listener: UnaryListener<A>, asksEngine: boolean) {
    this.meter = meter;
    this.#ask = ask;
    this.#listener = listener;
    this.#asksEngine = asksEngine;
  }

  start(): void {
    const ask = this.#ask;
    this.#ask = undefined;
    if (!ask || !this.#open) return;
    this.dispatched = this.#asksEngine;
    ask(this.#controller.signal).then(
      (answer) => {
        if (!this.#close()) return;
        this.accepted = true;
        this.#listener.answered(this, answer);
      },
      (thrown: unknown) => {
        if (this.#close()) this.#listener.failed(this, weirErrorFrom(thrown));
      },
    );
  }

  cancel(reason: WeirError): void {
    if (this.#close()) this.#controller.abort(reason);
  }

  #close(): boolean {
    const was = this.#open;
    this.#open = false;
    return was;
  }
}
