import { CountSource, type FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { WeirError } from "../../runtime/errors/fail.ts";
import { Answer, type AnswerOptions, type EngineSide } from "../answer.ts";
import type { Counts } from "../events.ts";
import type { Failure } from "../failure.ts";
import type { Http1Client } from "../http1/client.ts";
import { type AnswerSide, Exchange, type Reading } from "./exchange.ts";

/**
 * An answer of as many calls as it has choices, for servers that give one choice a call. The first failure is that of all;
 * the answer is over when every call is.
 */
export class ChoiceCalls implements EngineSide {
  readonly answer: Answer;
  readonly #options: Omit<AnswerOptions, "engine">;
  readonly #calls: ChoiceCall[] = [];

  constructor(options: Omit<AnswerOptions, "engine">) {
    this.#options = options;
    this.answer = new Answer({ ...options, engine: this });
  }

  /**
   * Sends one request for each choice.
   *
   * @param requestOf the request for a choice, whole.
   * @param readingOf how the answer to it is read.
   */
  start(http: Http1Client, requestOf: (choice: number) => string, readingOf: (call: ChoiceCall) => Reading): void {
    for (let choice = 0; choice < this.answer.choices; choice += 1) {
      const call = new ChoiceCall(this, choice);
      const exchange = new Exchange(this.#options.target, (side) => {
        call.engine = side;
        return readingOf(call);
      });
      this.#calls.push(call);
      // One that could not be sent ends them all.
      if (!this.answer.open) return;
      exchange.send(http, requestOf(choice));
    }
  }

  pause(): void {
    for (const call of this.#calls) call.engine?.pause();
  }

  resume(): void {
    for (const call of this.#calls) call.engine?.resume();
  }

  release(): void {
    // Those that have ended have been released.
    for (const call of this.#calls) call.release(true);
  }

  /** A call is over, and its choice has finished. */
  ended(): void {
    if (this.#calls.length < this.answer.choices || this.#calls.some((call) => call.open)) return;
    this.answer.count(sumOf(this.#calls.map(({ counts }) => counts)));
    this.answer.end();
  }
}

/** What one call counted; undefined: it did not say. */
export interface CallCounts {
  readonly promptTokens: number | undefined;
  readonly completionTokens: number | undefined;
  readonly cachedTokens?: number;
}

const nothing: CallCounts = { promptTokens: undefined, completionTokens: undefined };

/** One call: what it tells is told of its choice. */
export class ChoiceCall implements AnswerSide {
  readonly choice: number;
  /** Its connection. */
  engine: EngineSide | undefined;
  counts = nothing;
  readonly #calls: ChoiceCalls;
  #over = false;

  constructor(calls: ChoiceCalls, choice: number) {
    this.#calls = calls;
    this.choice = choice;
  }

  get open(): boolean {
    return !this.#over && this.#calls.answer.open;
  }

  get complete(): boolean {
    return this.#calls.answer.isFinished(this.choice);
  }

  touch(): void {
    this.#calls.answer.touch();
  }

  error(failure: Failure, cause?: unknown): WeirError {
    return this.#calls.answer.error(failure, cause);
  }

  accept(): void {
    this.#calls.answer.accept();
  }

  event(message: GenerateResponse): void {
    this.#calls.answer.event(message);
  }

  finish(_choice: number, reason: FinishReason, stopSequence = ""): void {
    this.#calls.answer.finish(this.choice, reason, stopSequence);
  }

  count(counts: CallCounts): void {
    this.counts = counts;
  }

  end(stop = false): void {
    if (!this.open) return;
    // Without a finish it is cut short, and so are all.
    if (!this.complete) return this.#calls.answer.end();
    this.release(stop);
    this.#calls.ended();
  }

  fail(error: WeirError, stop = true): void {
    if (!this.open) return;
    this.release(stop);
    this.#calls.answer.fail(error);
  }

  broke(error: WeirError): void {
    if (this.complete) this.end(true);
    else this.fail(error);
  }

  release(stop: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.engine?.release(stop);
  }
}

/** The prompt is the same for all of them, and counts once. */
function sumOf(counts: readonly CallCounts[]): Counts {
  const prompt = counts.find(({ promptTokens }) => promptTokens !== undefined);
  const known = counts.flatMap(({ completionTokens }) => (completionTokens === undefined ? [] : [completionTokens]));
  const isWhole = known.length === counts.length;
  return {
    promptTokens: prompt?.promptTokens ?? 0,
    cachedTokens: prompt?.cachedTokens ?? 0,
    completionTokens: isWhole ? known.reduce((sum, tokens) => sum + tokens, 0) : 0,
    promptSource: prompt ? CountSource.ENGINE : CountSource.UNSPECIFIED,
    completionSource: isWhole ? CountSource.ENGINE : CountSource.UNSPECIFIED,
  };
}
