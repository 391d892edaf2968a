import type { Delta, Finished, Started, Usage } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { AnswerControl, Delivery } from "./answer.ts";
import type { Exchange } from "./exchange.ts";
import type { BodyFormat } from "./openai/answer-format.ts";
import { answerWith } from "./written.ts";

/** Characters of an answer that are held for its one body: more than any context has room for. */
const heldMax = 64 * 1024 * 1024;

/** Holds an answer until it is complete, and sends it as one JSON body. Until then any failure has its own status. */
export class BodyDelivery implements Delivery {
  readonly #exchange: Exchange;
  readonly #format: BodyFormat;
  readonly #model: string;
  readonly #control: AnswerControl;
  #held = 0;

  constructor(exchange: Exchange, format: BodyFormat, model: string, control: AnswerControl) {
    this.#exchange = exchange;
    this.#format = format;
    this.#model = model;
    this.#control = control;
  }

  started(started: Started): void {
    this.#exchange.ignore(started.ignored);
    this.#exchange.limits(started);
  }

  delta(delta: Delta): void {
    this.#exchange.firstToken();
    this.#held += this.#format.delta(delta);
    if (this.#held <= heldMax) return;
    this.#control.stop(fail(ErrorReason.ANSWER_TOO_LARGE, { model: this.#model, limit: String(heldMax) }));
  }

  finished(finished: Finished): void {
    this.#format.finished(finished);
  }

  turn(): void {
    // There is nothing to send before the end.
  }

  complete(usage: Usage | undefined): void {
    answerWith(this.#exchange, this.#format.body(usage));
  }

  fail(error: WeirError): void {
    this.#exchange.fail(error);
  }

  abandon(): void {
    // What is held goes with this.
  }

  full(): boolean {
    return false;
  }
}
