import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type Delta, type Finished, FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt, AttemptSink, Driver } from "../drivers/driver.ts";
import { deltaEvent, finished, textDelta } from "../drivers/events.ts";
import { fail, type WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { Cancel } from "../runtime/mesh/push.ts";
import type { AnswerReader } from "./answer/answer-reader.ts";
import type { ReadyAttempt } from "./attempt.ts";
import type { FormCheck } from "./form/form-check.ts";
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
 * contract, the answer has not the form that was asked for, or it is cancelled; then it is **closed**, and what the driver
 * still says is not heard. It counts what comes, and keeps back empty pieces until the first that a caller can tell came.
 * Where the gateway checks the form of the answer, a choice's end, and the end of all, wait for the verdict.
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
  /** Undefined: the answer has no form, or one that its engine is held to. */
  readonly #form: FormCheck | undefined;
  /** Choices that have ended, and whose form is being judged. */
  readonly #judged = new Set<number>();
  /** Choices that were complete by their form before the engine ended them. */
  readonly #ended = new Set<number>();
  /** The engine is done. */
  #over = false;
  readonly #ignored: readonly string[];
  /** What was read and is about to be passed on. */
  #read: GenerateResponse[] = [];
  #open = true;
  #cancel: Cancel | undefined;
  /** While its attempt is completed. */
  #completing: AbortController | undefined;
  #cancelledBy: WeirError | undefined;
  /** Until it starts: then it needs not hold on to the prompt. */
  #ready: (Pick<ReadyAttempt, "attempt" | "complete"> & { readonly driver: Driver }) | undefined;

  constructor(
    { attempt, meter, complete, reader, form, ignored }: ReadyAttempt,
    driver: Driver,
    facts: Readonly<Record<string, string>>,
    listener: TryListener,
  ) {
    this.meter = meter;
    this.#check = createStreamCheck(Math.max(1, attempt.request.choices));
    this.#facts = facts;
    this.#reader = reader;
    this.#form = form;
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
    this.#completing = new AbortController();
    complete(this.#completing.signal).then(
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
    this.#stopEngine(reason);
  }

  #stopEngine(reason: WeirError): void {
    this.#cancelledBy = reason;
    this.#completing?.abort(reason);
    this.#cancel?.(reason);
  }

  /** The choices whose end was not passed on. */
  unfinished(): number[] {
    return [...this.#check.unfinished(), ...this.#judged];
  }

  /** What was received and not passed on, of an answer that is cut here. */
  rest(): GenerateResponse[] {
    const reader = this.#reader;
    const open = this.#check.unfinished();
    const ends = reader ? open.flatMap((choice) => reader.end(choice, FinishReason.LENGTH)) : [];
    const rest = [...this.#read, ...ends.map(deltaEvent)];
    const form = this.#form;
    if (!form) return rest;
    for (const { event } of rest) if (event.case === "delta") form.read(event.value);
    return [...rest, ...open.map((choice) => textDelta(choice, form.flush(choice), 0))];
  }

  event(message: GenerateResponse): void {
    if (!this.#open || this.#isSurplus(message)) return;
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
    // Every choice is complete by its form, and the engine goes on.
    if (!this.#open || this.#over || this.#ended.size === 0 || !this.#check.complete) return;
    this.#stopEngine(fail(ErrorReason.CANCELLED));
    this.end();
  }

  lingers(over: Promise<void>): void {
    this.lingering = over;
  }

  end(): void {
    if (!this.#open) return;
    if (!this.#check.complete) return this.fail(fail(ErrorReason.ENGINE_TRUNCATED, this.#facts));
    this.#over = true;
    if (this.#judged.size > 0) return;
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
    this.#passPiece(message, delta);
  }

  #finish(message: GenerateResponse, end: Finished): void {
    const reader = this.#reader;
    if (!reader) return this.#passEnd(message, end);
    const rest = reader.end(end.choice, end.reason).map(deltaEvent);
    this.#read = [...rest, finished(end.choice, reader.reasonOf(end), end.stopSequence)];
    this.#passRead();
  }

  /** Whoever hears of one piece may leave upon it, or cut the answer: then the others are its rest. */
  #passRead(): void {
    while (this.#open) {
      const piece = this.#read.shift();
      if (!piece) return;
      const { event } = piece;
      if (event.case === "finished") this.#passEnd(piece, event.value);
      else if (event.case === "delta") this.#passPiece(piece, event.value);
    }
  }

  #passPiece(message: GenerateResponse, delta: Delta): void {
    const form = this.#form;
    const problem = form?.read(delta);
    if (problem !== undefined) return this.#mismatch(problem);
    // What a form leaves nothing of is not told.
    if (hasContent(delta) || (this.spoke && !form)) this.#pass(message);
    if (this.#open && form?.isOver(delta.choice)) this.#endHere(delta.choice);
  }

  /** A choice is complete by its form, whatever the engine says next. */
  #endHere(choice: number): void {
    this.#ended.add(choice);
    const message = finished(choice, FinishReason.STOP);
    this.#check.problemOf(message);
    if (message.event.case === "finished") this.#finish(message, message.event.value);
  }

  /** Whether it belongs to a choice that was complete before. What comes counts. */
  #isSurplus({ event }: GenerateResponse): boolean {
    if (this.#ended.size === 0 || (event.case !== "delta" && event.case !== "finished")) return false;
    if (!this.#ended.has(event.value.choice)) return false;
    if (event.case === "delta") this.meter.add(event.value);
    return true;
  }

  #passEnd(message: GenerateResponse, end: Finished): void {
    const form = this.#form;
    if (!form) return this.#pass(message);
    const { rest, verdict } = form.end(end);
    if (rest !== "") this.#pass(textDelta(end.choice, rest, 0));
    if (typeof verdict === "string") return this.#mismatch(verdict);
    if (verdict === undefined) return this.#pass(message);
    this.#judged.add(end.choice);
    void verdict.then((problem) => this.#judge(message, end.choice, problem));
  }

  #judge(message: GenerateResponse, choice: number, problem: string | undefined): void {
    if (!this.#open) return;
    this.#judged.delete(choice);
    if (problem !== undefined) return this.#mismatch(problem);
    this.#pass(message);
    if (this.#open) this.#listener.turn();
    if (this.#open && this.#over) this.end();
  }

  /** The answer has not the form that was asked for. The engine is stopped: no more of it could mend that. */
  #mismatch(problem: string): void {
    const error = fail(ErrorReason.ANSWER_MISMATCH, { ...this.#facts, form: this.#form?.rules.name ?? "", problem });
    this.cancel(error);
    this.#listener.failed(this, error);
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
