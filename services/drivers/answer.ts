import { Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import type { Sink } from "../runtime/mesh/push.ts";
import type { Attempt, Target } from "./driver.ts";
import { accepted, type Counts, finished, usageEvent } from "./events.ts";
import { engineError, type Failure } from "./failure.ts";
import { createWatchdog, type Patience, type Watchdog } from "./watchdog.ts";

const truncated: Failure = { reason: ErrorReason.ENGINE_TRUNCATED, metadata: {} };

/** The connection to the engine, as an {@link Answer} steers it. */
export interface EngineSide {
  /** Reads no more until `resume`. */
  pause(): void;
  resume(): void;
  /** Nothing more is wanted. `stop`: the engine may be working still and has to be told. Called once. */
  release(stop: boolean): void;
}

export interface AnswerOptions {
  readonly attempt: Attempt;
  readonly target: Target;
  readonly sink: Sink<GenerateResponse>;
  readonly engine: EngineSide;
  /** Whether the engine was asked to stream; if not, it is silent until its end and has the whole time for that. */
  readonly streams: boolean;
  /** Extras that the engine's protocol has no place for. */
  readonly ignored?: readonly string[];
}

/**
 * What one attempt tells its sink, held to the rules of {@link Sink} and `Driver` whatever the engine does: `started`
 * comes first, a choice finishes once and says nothing afterwards, usage comes last, exactly one of end and fail, and
 * nothing after a cancel. It also keeps the timers and the backpressure.
 */
export class Answer {
  /** How many choices were asked for. */
  readonly choices: number;
  readonly #options: AnswerOptions;
  readonly #sink: Sink<GenerateResponse>;
  readonly #watchdog: Watchdog;
  readonly #finished: boolean[];
  #left: number;
  #open = true;
  #started = false;
  #turnIsDue = false;
  #paused = false;
  #counts: Counts | undefined;

  constructor(options: AnswerOptions) {
    this.#options = options;
    this.#sink = options.sink;
    this.choices = Math.max(1, options.attempt.request.choices);
    this.#finished = new Array<boolean>(this.choices).fill(false);
    this.#left = this.choices;
    this.#watchdog = createWatchdog(options.target.clock, patienceWith(options), (phase, waitedMs) =>
      this.broke(
        this.error({
          reason: ErrorReason.ENGINE_TIMEOUT,
          metadata: { phase, waited_ms: String(Math.round(waitedMs)) },
        }),
      ),
    );
  }

  /** Whether anything may still be said. */
  get open(): boolean {
    return this.#open;
  }

  /** Whether every choice has finished. */
  get complete(): boolean {
    return this.#left === 0;
  }

  /** Whether this choice was asked for. */
  has(choice: number): boolean {
    return Number.isInteger(choice) && choice >= 0 && choice < this.choices;
  }

  isFinished(choice: number): boolean {
    return this.#finished[choice] ?? true;
  }

  /** A failure of this attempt's engine as an error, which names the model as the caller does. */
  error(failure: Failure, cause?: unknown): WeirError {
    const { attempt, target } = this.#options;
    return engineError(failure, attempt.request.model, target.engineKey, cause);
  }

  /** The engine lives. */
  touch(): void {
    this.#watchdog.touch();
  }

  /** The engine has taken the request. */
  accept(): void {
    if (!this.#open || this.#started) return;
    this.#started = true;
    this.#sink.event(accepted(this.#options.ignored?.slice() ?? []));
    this.#turnLater();
  }

  /** A delta of a choice that has not finished. */
  event(message: GenerateResponse): void {
    if (!this.#started) this.accept();
    if (!this.#open) return;
    this.#sink.event(message);
    this.#turnLater();
  }

  /** A choice is complete; a second time is ignored. */
  finish(choice: number, reason: FinishReason, stopSequence = ""): void {
    if (!this.#open || this.isFinished(choice)) return;
    this.#finished[choice] = true;
    this.#left -= 1;
    this.event(finished(choice, reason, stopSequence));
  }

  /** What the engine counted so far. */
  count(counts: Counts): void {
    this.#counts = counts;
  }

  /** The engine is done; `stop` if it may not be. Without a finish for every choice that is a failure. */
  end(stop = false): void {
    if (!this.#open) return;
    if (!this.complete) return this.fail(this.error(truncated));
    if (this.#counts) this.event(usageEvent(this.#counts));
    if (!this.#close(stop)) return;
    this.#sink.end();
  }

  /** The attempt failed; `stop` unless the engine itself has given it up. */
  fail(error: WeirError, stop = true): void {
    if (this.#close(stop)) this.#sink.fail(error);
  }

  /** The way to the engine is gone. What was complete before stays complete. */
  broke(error: WeirError): void {
    if (this.complete) this.end(true);
    else this.fail(error);
  }

  /** The consumer wants no more: the engine is stopped, and nothing is said. */
  cancel(): void {
    this.#close(true);
  }

  #close(stop: boolean): boolean {
    if (!this.#open) return false;
    this.#open = false;
    this.#watchdog.stop();
    this.#sink.resume = undefined;
    this.#options.engine.release(stop);
    return true;
  }

  // A microtask runs when everything that this read of the socket brought has been handled.
  #turnLater(): void {
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    queueMicrotask(this.#turn);
  }

  readonly #turn = (): void => {
    this.#turnIsDue = false;
    if (!this.#open) return;
    this.#sink.turn();
    if (!this.#open || this.#paused || !this.#sink.full()) return;
    this.#paused = true;
    this.#sink.resume = this.#resume;
    this.#watchdog.pause();
    this.#options.engine.pause();
  };

  readonly #resume = (): void => {
    if (!this.#open || !this.#paused) return;
    this.#paused = false;
    this.#sink.resume = undefined;
    this.#watchdog.resume();
    this.#options.engine.resume();
  };
}

/**
 * An engine that reads calls itself may tell an argument only when it is whole, and nothing while it makes it: how long that
 * takes is no sign of its health.
 */
function patienceWith({ attempt, target, streams }: AnswerOptions): Patience {
  const { firstEventMs, idleMs, toolIdleMs, totalMs } = target;
  if (!streams) return { firstEventMs: totalMs, idleMs: totalMs, totalMs };
  return { firstEventMs, idleMs: readsCalls(attempt) ? toolIdleMs : idleMs, totalMs };
}

function readsCalls({ request, model }: Attempt): boolean {
  return (
    request.tools.length > 0 &&
    request.toolChoice?.mode !== ToolChoiceMode.NONE &&
    model.features.includes(Feature.TOOLS)
  );
}
