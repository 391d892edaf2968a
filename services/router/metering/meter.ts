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
  /** A piece was received. */
  add(delta: Delta): void;
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
}

/** No engine has a context near this: where its bounds are not known, a larger count is nonsense. */
const tokensMax = 20_000_000;

/** Builds the meter of one attempt. */
export function createMeter({ prompt, bytesPerToken, promptMax, completionMax }: MeterOptions): Meter {
  let tokens = 0;
  let bytesUncounted = 0;
  let reasoning = 0;
  let engine: Usage | undefined;
  /** Pieces have come since the engine's last word: it is not its last word on them. */
  let stale = false;

  const received = () => tokens + Math.ceil(bytesUncounted / bytesPerToken);
  const promptPlausible = () =>
    engine !== undefined &&
    within(engine.promptTokens, promptMax || tokensMax) &&
    (engine.promptTokens > 0n || isEmpty(prompt));
  const completionPlausible = () =>
    engine !== undefined &&
    !stale &&
    within(engine.completionTokens, completionMax || tokensMax) &&
    (engine.completionTokens > 0n || received() === 0);

  return {
    add(delta) {
      const { fragment } = delta;
      if (delta.tokens > 0) {
        stale = true;
        tokens += delta.tokens;
        if (fragment.case === "reasoning") reasoning += delta.tokens;
      } else if (fragment.case !== undefined) {
        const bytes = bytesOf(fragment);
        stale ||= bytes > 0;
        bytesUncounted += bytes;
        if (fragment.case === "reasoning") reasoning += bytes / bytesPerToken;
      }
    },
    engineSays(usage) {
      engine = usage;
      stale = false;
    },
    get received() {
      return received();
    },
    get thought() {
      return reasoning;
    },
    get estimated() {
      return bytesUncounted > 0;
    },
    get promptFromEngine() {
      return promptPlausible();
    },
    counts() {
      const promptTold = promptPlausible();
      const completionTold = completionPlausible();
      const promptTokens = promptTold ? number(engine?.promptTokens) : promptOwn(prompt, bytesPerToken);
      const completionTokens = completionTold ? number(engine?.completionTokens) : received();
      const reasoningTold = completionTold ? number(engine?.reasoningTokens) : 0;
      return {
        promptTokens,
        completionTokens,
        cachedTokens: promptTold ? clamp(number(engine?.cachedTokens), promptTokens) : 0,
        reasoningTokens: clamp(reasoningTold || Math.ceil(reasoning), completionTokens),
        promptSource: promptTold
          ? CountSource.ENGINE
          : prompt.tokens === undefined
            ? CountSource.ESTIMATED
            : CountSource.COUNTED,
        completionSource: completionTold
          ? CountSource.ENGINE
          : bytesUncounted > 0
            ? CountSource.ESTIMATED
            : CountSource.COUNTED,
      };
    },
  };
}

function promptOwn({ bytes, tokens }: PromptBytes, bytesPerToken: number): number {
  return tokens ?? Math.ceil(bytes / bytesPerToken);
}

function isEmpty({ bytes, tokens }: PromptBytes): boolean {
  return bytes === 0 && (tokens ?? 0) === 0;
}

function within(count: bigint, most: number): boolean {
  return count >= 0n && count <= BigInt(most);
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
