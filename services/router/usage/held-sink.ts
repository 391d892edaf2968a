import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { WeirError } from "../../runtime/errors/fail.ts";
import type { Sink } from "../../runtime/mesh/push.ts";
import type { Waiter } from "../journal/journal.ts";
import type { RequestUsage } from "./request-usage.ts";
import type { RequestJournal } from "./usage-journal.ts";

/** A try that is ready to go. */
export interface Dispatch {
  start(): void;
}

/**
 * Holds back what is told to a caller until the journal has it: what came in a turn of the event loop is noted once, then
 * passed on in one go. A dispatch is held back in the same way.
 *
 * It is *open* until the end is passed on, or it is *dropped*: then nothing more comes out of it.
 */
export class HeldSink<E = GenerateResponse> implements Sink<E>, Waiter {
  /** Undefined before the request is admitted: there is nothing to note. */
  usage: RequestUsage | undefined;
  readonly #sink: Sink<E>;
  readonly #journal: RequestJournal;
  #held: E[] = [];
  #passing: E[] = [];
  #ending: WeirError | "end" | undefined;
  #dispatch: Dispatch | undefined;
  #waiting = false;
  #dropped = false;

  constructor(sink: Sink<E>, journal: RequestJournal) {
    this.#sink = sink;
    this.#journal = journal;
  }

  /** Starts a try when its snapshot is written, unless everything was dropped by then. */
  dispatch(dispatch: Dispatch): void {
    this.#dispatch = dispatch;
    this.#wait();
  }

  event(message: E): void {
    if (this.#dropped) return;
    this.#held.push(message);
    this.#wait();
  }

  /** The turn ends for everybody at once, when the journal writes. */
  turn(): void {}

  end(): void {
    this.#ending = "end";
    this.#wait();
  }

  fail(error: WeirError): void {
    this.#ending = error;
    this.#wait();
  }

  /** The caller is gone: what is held, or still comes, is not told. */
  drop(): void {
    this.#dropped = true;
    this.#held.length = 0;
    this.#dispatch = undefined;
  }

  full(): boolean {
    return this.#sink.full();
  }

  get resume(): (() => void) | undefined {
    return this.#sink.resume;
  }

  set resume(go: (() => void) | undefined) {
    this.#sink.resume = go;
  }

  append(): void {
    this.usage?.progress();
  }

  flushed(): void {
    this.#waiting = false;
    // What is asked for while the held is passed on is not in the journal so far.
    const ending = this.#ending;
    const dispatch = this.#dispatch;
    this.#dispatch = undefined;
    if (this.#held.length > 0) this.#pass();
    if (this.#dropped) return;
    if (ending === undefined) {
      dispatch?.start();
      return;
    }
    this.#dropped = true;
    if (ending === "end") this.#sink.end();
    else this.#sink.fail(ending);
  }

  #wait(): void {
    if (this.#waiting || this.#dropped) return;
    this.#waiting = true;
    this.#journal.wait(this);
  }

  /** What comes meanwhile, from a producer that is woken or a caller that leaves, is for the next time. */
  #pass(): void {
    const passing = this.#held;
    this.#held = this.#passing;
    this.#passing = passing;
    for (const message of passing) {
      if (this.#dropped) break;
      this.#sink.event(message);
    }
    passing.length = 0;
    if (!this.#dropped) this.#sink.turn();
  }
}
