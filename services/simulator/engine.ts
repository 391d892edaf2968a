import type { Clock, Timer } from "../runtime/clock.ts";
import { type Fault, faultFrom } from "./fault.ts";
import type { Recorder } from "./record.ts";
import { countTokens, type Token, textFrom, tokensOf } from "./text.ts";

/** How fast the simulated GPU is. */
export interface Speed {
  /** Requests that it works on at a time; others wait in order. */
  readonly slots: number;
  /** Prefill, in milliseconds a prompt token. */
  readonly prefillMsPerToken: number;
  /** Decode, in milliseconds a token, however many requests run. */
  readonly decodeMsPerToken: number;
  /** Tokens of prompt and answer together. */
  readonly contextLength: number;
}

/** The speed of a small model on one GPU. */
export const defaultSpeed: Speed = { slots: 64, prefillMsPerToken: 0.05, decodeMsPerToken: 20, contextLength: 8_192 };

/** What to generate. */
export interface Job {
  readonly id: string;
  readonly model: string;
  readonly prompt: string;
  /** Undefined: another text each time. */
  readonly seed: bigint | undefined;
  /** Undefined: until the text ends by itself. */
  readonly maxTokens: number | undefined;
  readonly minTokens: number;
  readonly ignoreEos: boolean;
  readonly choices: number;
  /** Said word for word instead of invented text: a JSON answer, the arguments of a function. */
  readonly saying: string | undefined;
  /** A longer prompt may stand for this one: its tokens are counted instead of its bytes. */
  readonly promptTokens?: number;
}

/** What the engine tells of a job. Exactly one of `done` and `failed` comes last, or nothing after a cancel. */
export interface JobSink {
  started(): void;
  /** `last` on a choice's last token: why it ended. */
  token(choice: number, token: Token, last: "stop" | "length" | undefined): void;
  done(): void;
  failed(fault: Fault): void;
}

/** A job that runs or waits. */
export interface Running {
  readonly promptTokens: number;
  /** A stop text was found in a choice: no more of its tokens are wanted. */
  finishChoice(choice: number): void;
  /** Ends it; nothing more is said. */
  cancel(): void;
}

/** The simulated engine: a queue, slots, and a token at a time. */
export interface Engine {
  run(job: Job, sink: JobSink): Running;
  load(): { readonly running: number; readonly waiting: number };
  /** Faults for the next requests, in order, before those that prompts command. */
  readonly commanded: Fault[];
  readonly speed: Speed;
}

/** Builds an engine. Its times follow the clock that it is given. */
export function createEngine(speed: Speed, clock: Clock, recorder: Recorder): Engine {
  const waiting: Generation[] = [];
  const commanded: Fault[] = [];
  let running = 0;
  let ordinal = 0n;

  const next = () => {
    while (running < speed.slots && waiting.length > 0) {
      running++;
      waiting.shift()?.start();
    }
  };

  return {
    speed,
    commanded,
    load: () => ({ running, waiting: waiting.length }),
    run(job, sink) {
      const promptTokens = job.promptTokens ?? countTokens(job.prompt);
      recorder.add({ id: job.id, event: "received", model: job.model, promptTokens });
      const fault = commanded.shift() ?? faultFrom(job.prompt);
      const release = () => {
        running--;
        next();
      };
      const generation = new Generation({
        job,
        sink,
        fault,
        promptTokens,
        speed,
        clock,
        recorder,
        release,
        seed: job.seed ?? ordinal++,
      });
      waiting.push(generation);
      next();
      return {
        promptTokens,
        finishChoice: (choice) => generation.finishChoice(choice),
        cancel() {
          const at = waiting.indexOf(generation);
          if (at >= 0) waiting.splice(at, 1);
          generation.cancel(at >= 0);
        },
      };
    },
  };
}

interface GenerationOptions {
  readonly job: Job;
  readonly sink: JobSink;
  readonly fault: Fault | undefined;
  readonly promptTokens: number;
  readonly speed: Speed;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly release: () => void;
  readonly seed: bigint;
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
 * One job, in these states: queued (until `start`), prefilling (until the first timer), decoding (a token of every
 * choice at each tick), over. A fault fires when its count of tokens has been produced; `cancel` ends any state.
 */
class Generation {
  readonly #o: GenerationOptions;
  readonly #choices: Choice[];
  #timer: Timer | undefined;
  #over = false;
  #produced = 0;
  #delayed = false;

  constructor(options: GenerationOptions) {
    this.#o = options;
    const { job, seed, speed, promptTokens } = options;
    const room = Math.max(1, speed.contextLength - promptTokens);
    this.#choices = Array.from({ length: job.choices }, (_, index) => {
      const saying = job.saying;
      const tokens = saying === undefined ? textFrom(job.prompt, seed * 131n + BigInt(index)) : tokensOf(saying);
      const natural =
        saying === undefined
          ? Math.max(job.minTokens, naturalLength(job.prompt, seed))
          : Math.ceil(Buffer.byteLength(saying) / 4);
      return {
        tokens,
        limit: Math.min(job.maxTokens ?? room, room),
        natural: job.ignoreEos && saying === undefined ? Number.POSITIVE_INFINITY : Math.max(1, natural),
        produced: 0,
        ended: false,
      };
    });
  }

  start(): void {
    const { recorder, job, sink, speed, promptTokens } = this.#o;
    recorder.add({ id: job.id, event: "started", model: job.model });
    sink.started();
    if (this.#over) return;
    this.#wait(promptTokens * speed.prefillMsPerToken);
  }

  finishChoice(index: number): void {
    const choice = this.#choices[index];
    if (choice) choice.ended = true;
  }

  cancel(queued: boolean): void {
    if (this.#over) return;
    this.#end("cancelled", undefined, !queued);
  }

  #wait(ms: number): void {
    this.#timer = this.#o.clock.setTimer(ms, () => this.#tick());
  }

  #tick(): void {
    const { fault, sink, speed } = this.#o;
    if (fault && this.#produced >= fault.after && !this.#delayed) {
      if (fault.kind === "hang") return;
      if (fault.kind === "delay") {
        this.#delayed = true;
        this.#wait(fault.ms);
        return;
      }
      if (fault.kind !== "drip") {
        this.#end("failed", fault, true);
        sink.failed(fault);
        return;
      }
    }
    for (const [index, choice] of this.#choices.entries()) {
      if (!choice.ended) this.#emit(index, choice);
      if (this.#over) return;
    }
    if (this.#choices.every((choice) => choice.ended)) {
      this.#end("finished", undefined, true);
      sink.done();
      return;
    }
    this.#wait(fault?.kind === "drip" && this.#produced >= fault.after ? fault.ms : speed.decodeMsPerToken);
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

  #end(event: "finished" | "cancelled" | "failed", fault: Fault | undefined, running: boolean): void {
    const { recorder, job, release } = this.#o;
    this.#over = true;
    this.#timer?.cancel();
    recorder.add({
      id: job.id,
      event,
      model: job.model,
      tokens: this.#produced,
      ...(fault ? { fault: fault.kind } : {}),
    });
    if (running) release();
  }
}

/** A text ends by itself after 12 to 75 tokens. */
function naturalLength(prompt: string, seed: bigint): number {
  return 12 + Number((BigInt(prompt.length) * 7n + (seed < 0n ? -seed : seed) * 13n) % 64n);
}
