import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type Delta, type Finished, FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt, AttemptSink, Driver } from "../drivers/driver.ts";
import { deltaEvent, finished } from "../drivers/events.ts";
import { fail, type WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { Cancel } from "../runtime/mesh/push.ts";
import type { AnswerReader } from "./answer/answer-reader.ts";
import type { ReadyAttempt } from "./attempt.ts";
import type { Meter } from "./metering/meter.ts";
import { createStreamCheck, hasContent, type StreamCheck } from "./stream-check.ts";

/** Who hears how a try goes. */
export interface TryListener {
  /** The engine has taken the request. */
  accepted(from: Try, ignored: readonly string[]): void;
  /** A piece, or the end of a choice. */
  passed(message: GenerateResponse): void;
  turn(): void;
  full(): boolean;
  /** How the producer is woken; undefined: it needs not be. */
  resumeWith(resume: (() => void) | undefined): void;
  ended(from: Try): void;
  failed(from: Try, error: WeirError): void;
}

/**
 * One try of a request at one replica. It is **ready** until it is started or cancelled (its prompt may have to be made token
 * ids first, and no engine hears of it meanwhile), and **open** until the driver ends or fails it, the engine breaks the
 * contract, or it is cancelled; then it is **closed**, and what the driver still says is not heard. It counts what
 * comes, and keeps back empty pieces until the first that a caller can tell came.
 */
export class Try implements AttemptSink {
  readonly meter: Meter;
  /** The request was sent. */
  dispatched = false;
  /** The engine has taken the request. */
  accepted = false;
  /** The engine could not be stopped: resolves when it has ended. */
  lingering: Promise<void> | undefined;
  /** Something was passed on that a caller can tell came. */
  spoke = false;
  readonly #listener: TryListener;
  readonly #check: StreamCheck;
  readonly #facts: Readonly<Record<string, string>>;
  /** Undefined: pieces are passed on as they come. */
  readonly #reader: AnswerReader | undefined;
  readonly #ignored: readonly string[];
  /** What was read and is about to be passed on. */
  #read: GenerateResponse[] = [];
  #open = true;
  #cancel: Cancel | undefined;
  #cancelledBy: WeirError | undefined;
  /** Until it starts: then it needs not hold on to the prompt. */
  #ready: (Pick<ReadyAttempt, "attempt" | "complete"> & { readonly driver: Driver }) | undefined;

  constructor(
    { attempt, meter, complete, reader, ignored }: ReadyAttempt,
    driver: Driver,
    facts: Readonly<Record<string, string>>,
    listener: TryListener,
  ) {
    this.meter = meter;
    this.#check = createStreamCheck(Math.max(1, attempt.request.choices));
    this.#facts = facts;
    this.#reader = reader;
    this.#ignored = ignored;
    this.#listener = listener;
    this.#ready = { driver, attempt, complete };
  }

  /** Sends the request, unless it was cancelled before. The driver may answer, and the caller may leave, meanwhile. */
  start(): void {
    const ready = this.#ready;
    this.#ready = undefined;
    if (!ready || !this.#open) return;
    const { driver, attempt, complete } = ready;
    if (!complete) return this.#send(driver, attempt);
    complete().then(
      (completed) => {
        if (this.#open) this.#send(driver, completed);
      },
      (thrown: unknown) => this.fail(weirErrorFrom(thrown)),
    );
  }

  #send(driver: Driver, attempt: Attempt): void {
    this.dispatched = true;
    const cancel = driver.generate(attempt, this);
    if (this.#cancelledBy) cancel(this.#cancelledBy);
    else if (this.#open) this.#cancel = cancel;
  }

  /** Stops the engine; nothing more is heard. */
  cancel(reason: WeirError): void {
    if (!this.#open) return;
    this.#open = false;
    this.#cancelledBy = reason;
    this.#cancel?.(reason);
  }

  /** The choices that have not ended. */
  unfinished(): number[] {
    return this.#check.unfinished();
  }

  /** What was received and not passed on, of an answer that is cut here. */
  rest(): GenerateResponse[] {
    const reader = this.#reader;
    if (!reader) return [];
    const ends = this.unfinished().flatMap((choice) => reader.end(choice, FinishReason.LENGTH));
    return [...this.#read, ...ends.map(deltaEvent)];
  }

  event(message: GenerateResponse): void {
    if (!this.#open) return;
    const problem = this.#check.problemOf(message);
    if (problem !== undefined) return this.#breach(problem);
    const { event } = message;
    switch (event.case) {
      case "started":
        return this.#accept(event.value.ignored);
      case "delta":
        return this.#delta(message, event.value);
      case "finished":
        return this.#finish(message, event.value);
      case "usage":
        return this.meter.engineSays(event.value);
      default:
        return this.#breach("an event that drivers do not send");
    }
  }

  turn(): void {
    if (this.#open) this.#listener.turn();
  }

  lingers(over: Promise<void>): void {
    this.lingering = over;
  }

  end(): void {
    if (!this.#open) return;
    if (!this.#check.complete) return this.fail(fail(ErrorReason.ENGINE_TRUNCATED, this.#facts));
    this.#open = false;
    this.#listener.ended(this);
  }

  fail(error: WeirError): void {
    if (!this.#open) return;
    this.#open = false;
    this.#listener.failed(this, error);
  }

  full(): boolean {
    return this.#open && this.#listener.full();
  }

  get resume(): (() => void) | undefined {
    return undefined;
  }

  set resume(resume: (() => void) | undefined) {
    if (this.#open || resume === undefined) this.#listener.resumeWith(resume);
  }

  #accept(ignored: readonly string[]): void {
    if (this.accepted) return;
    this.accepted = true;
    this.#listener.accepted(this, this.#ignored.length > 0 ? [...this.#ignored, ...ignored] : ignored);
  }

  #delta(message: GenerateResponse, delta: Delta): void {
    const reader = this.#reader;
    if (reader && delta.fragment.case === "text") {
      this.#read = reader.read(delta).map(deltaEvent);
      this.meter.add(delta, reader.thinks(delta.choice));
      return this.#passRead();
    }
    this.meter.add(delta);
    if (this.spoke || hasContent(delta)) this.#pass(message);
  }

  #finish(message: GenerateResponse, end: Finished): void {
    const reader = this.#reader;
    if (!reader) return this.#pass(message);
    const rest = reader.end(end.choice, end.reason).map(deltaEvent);
    this.#read = [...rest, finished(end.choice, reader.reasonOf(end), end.stopSequence)];
    this.#passRead();
  }

  /** Whoever hears of one piece may leave upon it, or cut the answer: then the others are its rest. */
  #passRead(): void {
    while (this.#open) {
      const piece = this.#read.shift();
      if (!piece) return;
      if (this.spoke || piece.event.case !== "delta" || hasContent(piece.event.value)) this.#pass(piece);
    }
  }

  #pass(message: GenerateResponse): void {
    if (!this.accepted) this.#accept([]);
    // Whoever heard of the acceptance may have left upon it.
    if (!this.#open) return;
    this.spoke = true;
    this.#listener.passed(message);
  }

  #breach(problem: string): void {
    const error = fail(ErrorReason.ENGINE_PROTOCOL, { ...this.#facts, problem });
    this.cancel(error);
    this.#listener.failed(this, error);
  }
}
