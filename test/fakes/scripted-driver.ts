import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { EmbedRequest, RerankRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt, AttemptSink, Driver, ProbeResult } from "../../services/drivers/driver.ts";
import type { ModelRepository } from "../../services/drivers/repository.ts";
import type { CountAttempt, Embedded, Ranked, UnaryAttempt } from "../../services/drivers/unary.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";

/** One try as the driver was given it, and the way to answer it by hand. */
export interface ScriptedTry {
  readonly attempt: Attempt;
  readonly sink: AttemptSink;
  /** Every cancel that reached the engine. */
  readonly cancels: WeirError[];
}

/** One try that has one answer, and the way to answer it by hand. */
export interface ScriptedAsk {
  readonly attempt: UnaryAttempt<{ readonly model: string }>;
  /** Aborted when the try is cancelled. */
  readonly signal: AbortSignal;
  answer(answer: unknown): void;
  fail(error: WeirError): void;
}

/** A driver that does what a test says: it hands every try out, and may answer it before `generate` returns. */
export class ScriptedDriver implements Driver {
  readonly dialect: Dialect;
  readonly tries: ScriptedTry[] = [];
  /** Answers each try while it starts. */
  onTry: ((one: ScriptedTry) => void) | undefined;
  repository?: ModelRepository;
  onProbe: (signal: AbortSignal) => Promise<ProbeResult>;
  /** Tries that have one answer. */
  readonly asks: ScriptedAsk[] = [];
  disposed = false;

  constructor(dialect: Dialect = Dialect.OPENAI) {
    this.dialect = dialect;
    this.onProbe = () => Promise.reject(new Error("no probe was scripted"));
  }

  /** The newest try. */
  get last(): ScriptedTry {
    const last = this.tries.at(-1);
    if (!last) throw new Error("nothing was tried");
    return last;
  }

  generate(attempt: Attempt, sink: AttemptSink) {
    const one: ScriptedTry = { attempt, sink, cancels: [] };
    this.tries.push(one);
    this.onTry?.(one);
    return (reason: WeirError) => void one.cancels.push(reason);
  }

  embed(attempt: UnaryAttempt<EmbedRequest>, signal: AbortSignal): Promise<Embedded> {
    return this.#ask(attempt, signal);
  }

  rerank(attempt: UnaryAttempt<RerankRequest>, signal: AbortSignal): Promise<Ranked> {
    return this.#ask(attempt, signal);
  }

  countTokens(attempt: CountAttempt, signal: AbortSignal): Promise<number> {
    return this.#ask(attempt, signal);
  }

  /** The newest try that has one answer. */
  get lastAsk(): ScriptedAsk {
    const last = this.asks.at(-1);
    if (!last) throw new Error("nothing was asked");
    return last;
  }

  #ask<A>(attempt: ScriptedAsk["attempt"], signal: AbortSignal): Promise<A> {
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error));
      this.asks.push({ attempt, signal, answer: (answer) => resolve(answer as A), fail: reject });
    });
  }

  probe(signal: AbortSignal): Promise<ProbeResult> {
    return this.onProbe(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
  }
}
