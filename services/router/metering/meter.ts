import { CountSource, type Delta, type Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Counts } from "../../drivers/events.ts";

/** What is known of a prompt before an engine counts it. */
export interface PromptBytes {
  readonly bytes: number;
  /** Exact where it came as token ids; else undefined. */
  readonly tokens: number | undefined;
}

/** Counts one attempt: what was received, and what the engine says of it. */
export interface Meter {
  /**
   * A piece was received; `thought` if it turned out to be that. Of more tokens than the answer can have the count is
   * nonsense: they are estimated.
   */
  add(delta: Delta, thought?: boolean): void;
  /** The engine's own count so far; a later one replaces it. */
  engineSays(usage: Usage): void;
  /** Tokens of the answer that came so far, estimated where they were not counted; cheap enough for every turn. */
  readonly received: number;
  /** Of them, those that were thought. */
  readonly thought: number;
  /** Some were estimated. */
  readonly estimated: boolean;
  /** Whether the engine's word on the prompt is taken. */
  readonly promptFromEngine: boolean;
  /** The truth as far as it is known now. */
  counts(): Counts;
}

export interface MeterOptions {
  readonly prompt: PromptBytes;
  /** Bytes that a token of this model has on average. */
  readonly bytesPerToken: number;
  /** The model's context; 0: unknown. */
  readonly promptMax: number;
  /** The most tokens that all choices together may have; 0: unknown. */
  readonly completionMax: number;
  /** All that comes is the prompt, echoed: it is no answer, and not counted as one. */
  readonly onlyEcho?: boolean;
}

/** No engine has a context near this: where its bounds are not known, a larger count is nonsense. */
const tokensMax = 20_000_000;

/** Builds the meter of one attempt. */
export function createMeter(options: MeterOptions): Meter {
  return new AttemptMeter(options);
}

// A class, because one is made for every request: closures over the same counts are ten objects.
class AttemptMeter implements Meter {
  readonly #options: MeterOptions;
  #tokens = 0;
  #bytesUncounted = 0;
  #reasoning = 0;
  #engine: Usage | undefined;
  /** Pieces have come since the engine's last word: it is not its last word on them. */
  #stale = false;

  constructor(options: MeterOptions) {
    this.#options = options;
  }

  add(delta: Delta, thought = delta.fragment.case === "reasoning"): void {
    if (this.#options.onlyEcho) return;
    const { fragment } = delta;
    if (delta.tokens > 0 && this.#tokens + delta.tokens <= this.#completionMax) {
      this.#stale = true;
      this.#tokens += delta.tokens;
      if (thought) this.#reasoning += delta.tokens;
    } else if (fragment.case !== undefined) {
      const bytes = bytesOf(fragment);
      this.#stale ||= bytes > 0;
      this.#bytesUncounted += bytes;
      if (thought) this.#reasoning += bytes / this.#options.bytesPerToken;
    }
  }

  engineSays(usage: Usage): void {
    this.#engine = usage;
    this.#stale = false;
  }

  get received(): number {
    return this.#tokens + Math.ceil(this.#bytesUncounted / this.#options.bytesPerToken);
  }

  get thought(): number {
    return this.#reasoning;
  }

  get estimated(): boolean {
    return this.#bytesUncounted > 0;
  }

  get promptFromEngine(): boolean {
    const { prompt, promptMax } = this.#options;
    const told = this.#engine?.promptTokens;
    return told !== undefined && within(told, promptMax || tokensMax) && (told > 0n || isEmpty(prompt));
  }

  get #completionFromEngine(): boolean {
    const told = this.#engine?.completionTokens;
    if (told === undefined || this.#stale) return false;
    return within(told, this.#completionMax) && (told > 0n || this.received === 0);
  }

  get #completionMax(): number {
    return this.#options.completionMax || tokensMax;
  }

  counts(): Counts {
    const { prompt, bytesPerToken } = this.#options;
    const engine = this.#engine;
    const promptTold = this.promptFromEngine;
    const completionTold = this.#completionFromEngine;
    const promptTokens = promptTold ? number(engine?.promptTokens) : promptOwn(prompt, bytesPerToken);
    const completionTokens = completionTold ? number(engine?.completionTokens) : this.received;
    const reasoningTold = completionTold ? number(engine?.reasoningTokens) : 0;
    return {
      promptTokens,
      completionTokens,
      cachedTokens: promptTold ? clamp(number(engine?.cachedTokens), promptTokens) : 0,
      reasoningTokens: clamp(reasoningTold || Math.ceil(this.#reasoning), completionTokens),
      promptSource: promptTold
        ? CountSource.ENGINE
        : prompt.tokens === undefined
          ? CountSource.ESTIMATED
          : CountSource.COUNTED,
      completionSource: completionTold
        ? CountSource.ENGINE
        : this.#bytesUncounted > 0
          ? CountSource.ESTIMATED
          : CountSource.COUNTED,
    };
  }
}

function promptOwn({ bytes, tokens }: PromptBytes, bytesPerToken: number): number {
  return tokens ?? Math.ceil(bytes / bytesPerToken);
}

function isEmpty({ bytes, tokens }: PromptBytes): boolean {
  return bytes === 0 && (tokens ?? 0) === 0;
}

function within(count: bigint, most: number): boolean {
  return count >= 0n && count <= most;
}

function number(count: bigint | undefined): number {
  return Number(count ?? 0n);
}

function clamp(count: number, most: number): number {
  return Math.min(Math.max(0, count), most);
}

function bytesOf(fragment: Exclude<Delta["fragment"], { case: undefined }>): number {
  if (fragment.case !== "toolCall") return Buffer.byteLength(fragment.value);
  return Buffer.byteLength(fragment.value.name) + Buffer.byteLength(fragment.value.arguments);
}
