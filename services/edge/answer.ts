import type { Delta, Finished, Started, Usage } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { errorFromDetail, fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Cancel, Sink } from "../runtime/mesh/push.ts";

/** How an answer reaches its reader: in pieces as it comes, or in one. */
export interface Delivery {
  /** The engine has taken the request. It may be told again. */
  started(started: Started): void;
  delta(delta: Delta): void;
  finished(finished: Finished): void;
  /** Nothing more comes in this turn of the event loop. */
  turn(): void;
  /** Every choice is finished. */
  complete(usage: Usage | undefined): void;
  /** It ends here, incomplete. */
  fail(error: WeirError): void;
  /** Nobody reads any more. */
  abandon(): void;
  full(): boolean;
}

/** What an answer is told by its delivery. */
export interface AnswerControl {
  /** The reader takes more again. */
  resume(): void;
  /** The answer ends here for this reason: the generation is stopped, and the delivery told. */
  stop(error: WeirError): void;
}

/**
 * A generation on its way to its reader.
 *
 * It is *running* from `run` on, and *over* once: by its end, if every choice was finished, else the end is a failure;
 * by a failure, told by the stream or by its `failed` event; by its reader's leaving, or its delivery's giving up, which
 * cancel the generation at once. What comes after that is dropped.
 */
export class Answer implements Sink<GenerateResponse> {
  resume: (() => void) | undefined;
  readonly #delivery: Delivery;
  readonly #model: string;
  readonly #finished: boolean[] = [];
  #unfinished: number;
  #usage: Usage | undefined;
  #over = false;
  #cancel: Cancel | undefined;
  #stoppedBy: WeirError | undefined;

  constructor(model: string, choices: number, deliver: (control: AnswerControl) => Delivery) {
    this.#model = model;
    while (this.#finished.length < choices) this.#finished.push(false);
    this.#unfinished = choices;
    this.#delivery = deliver({ resume: () => this.resume?.(), stop: (error) => this.#stop(error) });
  }

  run(start: (sink: Sink<GenerateResponse>) => Cancel): void {
    this.#cancel = start(this);
    // It may have been stopped by what it said while it started.
    if (this.#stoppedBy !== undefined) this.#cancel(this.#stoppedBy);
  }

  /** The reader is gone, in whatever phase. */
  leave(): void {
    if (this.#over) return;
    this.#halt(fail(ErrorReason.CANCELLED));
    this.#delivery.abandon();
  }

  event({ event }: GenerateResponse): void {
    if (this.#over) return;
    switch (event.case) {
      case "delta":
        if (event.value.choice in this.#finished) this.#delivery.delta(event.value);
        else this.#stop(this.#nonsense("a choice that was not asked for"));
        break;
      case "started":
        this.#delivery.started(event.value);
        break;
      case "finished":
        this.#finish(event.value);
        break;
      case "usage":
        this.#usage = event.value;
        break;
      case "failed":
        this.fail(event.value.error ? errorFromDetail(event.value.error) : fail(ErrorReason.INTERNAL));
        break;
      case undefined:
        break;
    }
  }

  turn(): void {
    if (!this.#over) this.#delivery.turn();
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#unfinished > 0) this.#delivery.fail(fail(ErrorReason.ENGINE_TRUNCATED, { model: this.#model }));
    else this.#delivery.complete(this.#usage);
  }

  fail(error: WeirError): void {
    if (this.#over) return;
    this.#over = true;
    this.#delivery.fail(error);
  }

  full(): boolean {
    return !this.#over && this.#delivery.full();
  }

  #finish(finished: Finished): void {
    // Clients count on one finish for each choice, and take a second for a defect.
    if (this.#finished[finished.choice] !== false)
      return this.#stop(this.#nonsense("a choice that was finished before"));
    this.#finished[finished.choice] = true;
    this.#unfinished--;
    this.#delivery.finished(finished);
  }

  #nonsense(problem: string): WeirError {
    return fail(ErrorReason.ENGINE_PROTOCOL, { model: this.#model, problem });
  }

  #stop(error: WeirError): void {
    if (this.#over) return;
    this.#halt(error);
    this.#delivery.fail(error);
  }

  #halt(reason: WeirError): void {
    this.#over = true;
    this.#stoppedBy = reason;
    this.#cancel?.(reason);
  }
}
