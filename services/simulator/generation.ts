import type { Clock, Timer } from "../runtime/clock.ts";
import type { Job, JobSink, Running, Speed } from "./engine.ts";
import { type Fault, lengthFrom } from "./fault.ts";
import type { PrefixCache } from "./prefix-cache.ts";
import type { Entry, Recorder } from "./record.ts";
import { type Token, textFrom, tokensOf, wholeTokensOf } from "./text.ts";
import { writtenFrom } from "./written.ts";

/** What a generation works with. */
export interface GenerationOptions {
  readonly job: Job;
  readonly sink: JobSink;
  readonly fault: Fault | undefined;
  readonly promptTokens: number;
  readonly seed: bigint;
  readonly speed: Speed;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly cache: PrefixCache;
  /** It has ended, whatever state it was in. */
  readonly over: (generation: Generation) => void;
}

interface Choice {
  readonly tokens: Iterator<Token>;
  readonly limit: number;
  /** Tokens after which the text ends by itself. */
  readonly natural: number;
  produced: number;
  ended: boolean;
}

/**
 * One job, in these states: waiting (until `start`), prefilling (until the first tick), decoding (a token of every
 * choice at each tick), over. A fault fires at the tick before which its count of tokens has been produced; `cancel`,
 * `refuse` and `abandon` end any state. The record is written before anybody is told.
 */
export class Generation implements Running {
  readonly promptTokens: number;
  /** Tokens of memory that it needs at most, so that nothing that runs is ever thrown out. */
  readonly reserved: number;
  readonly #o: GenerationOptions;
  readonly #choices: Choice[];
  #state: "waiting" | "running" | "over" = "waiting";
  #timer: Timer | undefined;
  #dueMs = 0;
  #cachedTokens = 0;
  #produced = 0;
  #delayed = false;

  constructor(options: GenerationOptions) {
    const { job, speed, promptTokens } = options;
    const room = Math.max(1, speed.contextLength - promptTokens);
    const limit = Math.min(job.maxTokens ?? room, room);
    this.#o = options;
    this.promptTokens = promptTokens;
    this.reserved = Math.min(speed.kvTokens, promptTokens + limit * job.choices);
    this.#choices = Array.from({ length: job.choices }, (_, index) => choiceOf(options, index, limit));
  }

  get cachedTokens(): number {
    return this.#cachedTokens;
  }

  get waiting(): boolean {
    return this.#state === "waiting";
  }

  start(): void {
    const { recorder, job, speed, cache, clock } = this.#o;
    this.#state = "running";
    this.#cachedTokens = cache.use(job.prompt, job.cacheSalt);
    recorder.add({ id: job.id, event: "started", model: job.model, cachedTokens: this.#cachedTokens });
    this.#dueMs = clock.monotonicMs();
    this.#wait((this.promptTokens - this.#cachedTokens) * speed.prefillMsPerToken);
  }

  finishChoice(index: number): void {
    const choice = this.#choices[index];
    if (choice) choice.ended = true;
  }

  cancel(): void {
    this.#end("cancelled");
  }

  /** It is not even queued. */
  refuse(fault: Fault): void {
    this.#fail(fault);
  }

  /** Its engine is gone, and nobody is told. */
  abandon(): void {
    this.#end("failed", "crash");
  }

  // Times are counted from when a tick was due, so that late timers do not add up; one that is later than its whole step
  // is not made up for.
  #wait(ms: number): void {
    const nowMs = this.#o.clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs + ms, nowMs);
    this.#timer = this.#o.clock.setTimer(this.#dueMs - nowMs, () => this.#tick());
  }

  #tick(): void {
    const { fault, sink, speed } = this.#o;
    const isDue = fault !== undefined && this.#produced >= fault.after;
    if (isDue && fault.kind === "hang") return;
    if (isDue && fault.kind === "delay" && !this.#delayed) {
      this.#delayed = true;
      this.#wait(fault.ms);
      return;
    }
    if (isDue && fault.kind !== "delay" && fault.kind !== "drip") return this.#fail(fault);
    for (const [index, choice] of this.#choices.entries()) {
      if (!choice.ended) this.#emit(index, choice);
      if (this.#state === "over") return;
    }
    const complete = this.#choices.every((choice) => choice.ended);
    if (complete) this.#end("finished");
    sink.step();
    if (complete) sink.done();
    if (this.#state === "over") return;
    const drips = fault?.kind === "drip" && this.#produced >= fault.after;
    this.#wait(drips ? fault.ms : speed.decodeMsPerToken);
  }

  #emit(index: number, choice: Choice): void {
    const { recorder, job, sink } = this.#o;
    const drawn = choice.tokens.next();
    const token: Token = drawn.done ? { id: 0, bytes: Buffer.alloc(0) } : drawn.value;
    choice.produced++;
    this.#produced++;
    if (this.#produced === 1) recorder.add({ id: job.id, event: "produced", model: job.model, tokens: 1 });
    const last = choice.produced >= choice.natural ? "stop" : choice.produced >= choice.limit ? "length" : undefined;
    choice.ended = last !== undefined;
    sink.token(index, token, last);
  }

  #fail(fault: Fault): void {
    if (this.#end("failed", fault.kind)) this.#o.sink.failed(fault);
  }

  #end(event: Entry["event"], fault?: Fault["kind"]): boolean {
    if (this.#state === "over") return false;
    const { recorder, job, over } = this.#o;
    this.#state = "over";
    this.#timer?.cancel();
    recorder.add({
      id: job.id,
      event,
      model: job.model,
      tokens: this.#produced,
      ...(fault === undefined ? {} : { fault }),
    });
    over(this);
    return true;
  }
}

function choiceOf({ job, seed }: GenerationOptions, index: number, limit: number): Choice {
  const { saying } = job;
  const written = saying === undefined ? writtenFrom(job.prompt) : undefined;
  if (written !== undefined) {
    const tokens = wholeTokensOf(written);
    return { tokens: tokens.values(), limit, natural: Math.max(1, tokens.length), produced: 0, ended: false };
  }
  if (saying !== undefined) {
    const natural = Math.max(1, Math.ceil(Buffer.byteLength(saying) / 4));
    return { tokens: tokensOf(saying), limit, natural, produced: 0, ended: false };
  }
  const natural = job.ignoreEos ? Number.POSITIVE_INFINITY : Math.max(job.minTokens, naturalLength(job.prompt, seed));
  return { tokens: textFrom(job.prompt, seed * 131n + BigInt(index)), limit, natural, produced: 0, ended: false };
}

/** A text ends by itself after as many tokens as its prompt commands, else after 12 to 75. */
function naturalLength(prompt: string, seed: bigint): number {
  const some = (BigInt(prompt.length) * 7n + (seed < 0n ? -seed : seed) * 13n) % 64n;
  return lengthFrom(prompt) ?? 12 + Number(some);
}
