import type { Clock } from "../runtime/clock.ts";
import { type Fault, faultFrom } from "./fault.ts";
import { Generation } from "./generation.ts";
import { createPrefixCache } from "./prefix-cache.ts";
import type { Recorder } from "./record.ts";
import { countTokens, type Token } from "./text.ts";

/** How fast and how large the simulated GPU is. */
export interface Speed {
  /** Requests that it works on at a time; others wait in order. */
  readonly slots: number;
  /** Requests that may wait; others are refused. */
  readonly waitingMax: number;
  /** Tokens of prompts and answers for which it has memory, over all that run: a request waits until its own fit. */
  readonly kvTokens: number;
  /** Prefill, in milliseconds a prompt token that is not cached. */
  readonly prefillMsPerToken: number;
  /** Decode, in milliseconds a token, however many requests run. */
  readonly decodeMsPerToken: number;
  /** Tokens of prompt and answer together. */
  readonly contextLength: number;
}

/** The speed of a small model on one GPU. Its memory is as large as all slots together need. */
export const defaultSpeed: Speed = {
  slots: 64,
  waitingMax: 4_096,
  kvTokens: 64 * 8_192,
  prefillMsPerToken: 0.05,
  decodeMsPerToken: 20,
  contextLength: 8_192,
};

/** What to generate. */
export interface Job {
  readonly id: string;
  readonly model: string;
  readonly prompt: string;
  /** How long the prompt is, where that is known better than from its bytes. */
  readonly promptTokens?: number;
  /** Undefined: another text each time. */
  readonly seed: bigint | undefined;
  /** Undefined: until the text ends by itself. */
  readonly maxTokens: number | undefined;
  readonly minTokens: number;
  readonly ignoreEos: boolean;
  readonly choices: number;
  /** Said word for word instead of invented text: a JSON answer, the arguments of a function. */
  readonly saying: string | undefined;
  /** Keeps this caller's beginnings of prompts apart from others'. */
  readonly cacheSalt: string;
}

/**
 * What the engine tells of a job. Exactly one of `done` and `failed` comes last, or nothing after a cancel. A refusal
 * is told before `run` returns, everything else later.
 */
export interface JobSink {
  /** `last` on a choice's last token: why it ended. */
  token(choice: number, token: Token, last: "stop" | "length" | undefined): void;
  /** Each choice that goes on has had a token. */
  step(): void;
  done(): void;
  failed(fault: Fault): void;
}

/** A job that runs or waits. */
export interface Running {
  readonly promptTokens: number;
  /** Tokens of the prompt that needed no prefill; known when the prefill begins. */
  readonly cachedTokens: number;
  /** Whether it has not begun. */
  readonly waiting: boolean;
  /** A stop text was found in a choice: no more of its tokens are wanted. */
  finishChoice(choice: number): void;
  /** Ends it; nothing more is said. */
  cancel(): void;
}

/** How busy an engine is. */
export interface Load {
  readonly running: number;
  readonly waiting: number;
  /** Tokens that the running requests have reserved. */
  readonly kvTokens: number;
}

/** The simulated engine: a queue, slots, and a token at a time. */
export interface Engine {
  run(job: Job, sink: JobSink): Running;
  load(): Load;
  /** Ends all that runs or waits without a word to anybody: its process crashes, or was told to stop. */
  halt(why: "crash" | "stop"): void;
  /** Faults for the next requests, in order, before those that prompts command. */
  readonly commanded: Fault[];
  readonly speed: Speed;
}

const full: Fault = { kind: "reject", after: 0, ms: 0 };

/** Builds an engine. Its times follow the clock that it is given. */
export function createEngine(speed: Speed, clock: Clock, recorder: Recorder): Engine {
  const waiting: Generation[] = [];
  const running = new Set<Generation>();
  const cache = createPrefixCache(Math.ceil(speed.kvTokens / 128));
  const commanded: Fault[] = [];
  let reserved = 0;
  let ordinal = 0n;

  const next = () => {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (running.size >= speed.slots || reserved + first.reserved > speed.kvTokens) return;
      waiting.shift();
      running.add(first);
      reserved += first.reserved;
      first.start();
    }
  };
  const over = (generation: Generation) => {
    const at = waiting.indexOf(generation);
    if (at >= 0) waiting.splice(at, 1);
    if (running.delete(generation)) reserved -= generation.reserved;
    next();
  };

  return {
    speed,
    commanded,
    load: () => ({ running: running.size, waiting: waiting.length, kvTokens: reserved }),
    halt(why) {
      for (const generation of [...waiting.splice(0), ...running]) {
        if (why === "stop") generation.cancel();
        else generation.abandon();
      }
    },
    run(job, sink) {
      const { promptTokens = countTokens(job.prompt) } = job;
      recorder.add({ id: job.id, event: "received", model: job.model, promptTokens });
      const fault = commanded.shift() ?? faultFrom(job.prompt);
      const seed = job.seed ?? ordinal++;
      const generation = new Generation({ job, sink, fault, promptTokens, seed, speed, clock, recorder, cache, over });
      if (fault?.kind === "reject") generation.refuse(fault);
      else if (waiting.length >= speed.waitingMax) generation.refuse(full);
      else {
        waiting.push(generation);
        next();
      }
      return generation;
    },
  };
}
