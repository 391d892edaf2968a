import type { SeededRandom } from "../../fakes/seeded-random.ts";

/** What a client asks for, and how it behaves. */
export interface Wish {
  readonly model: Model;
  readonly prompt: string;
  /** Of the prompt, as the engines count. */
  readonly promptTokens: number;
  readonly stream: boolean;
  readonly tokens: number;
  readonly timeoutMs?: number;
  readonly leave?: Leave;
}

/** When a client goes away, whichever comes first. */
export interface Leave {
  /** So long after it has sent its request. */
  readonly afterMs: number;
  /** With so many pieces received. */
  readonly afterPieces: number;
  /** By a reset; else it closes. */
  readonly reset: boolean;
}

/**
 * The models of the world. `wide` has places for all, `narrow` has two, so that requests wait; `frail` is asked for what
 * fails; the others are reached by gRPC.
 */
export const models = ["wide", "narrow", "frail", "vllm", "tgis", "triton"] as const;
export type Model = (typeof models)[number];

/** Out of every ten. */
const shares: readonly Model[] = [
  "wide",
  "wide",
  "wide",
  "narrow",
  "narrow",
  "narrow",
  "frail",
  "vllm",
  "tgis",
  "triton",
];

/** What goes wrong at an engine. A failure before a token is tried again elsewhere, and fails there as well. */
const failures = [
  "[[sim cut after=3]]",
  "[[sim cut after=0]]",
  "[[sim error after=0]]",
  "[[sim error after=4]]",
  "[[sim early_end after=2]]",
  "[[sim reject]]",
];

/** An engine cannot be told to stop, and goes on alone: short answers only. */
const uncancellable: readonly Model[] = ["triton"];

/** An engine counts a token for so many bytes of a prompt. */
const bytesPerToken = 4;
/** Room for a command. */
const promptTokensMin = 12;
/** So many requests of a client in a row have prompts of different lengths: engines' records tell them apart by that. */
const promptLengths = 97;

/**
 * Chooses what is asked next: short and long, in one piece and streamed, patient and not, with engines that fail.
 *
 * @param at how many the client has asked before.
 */
export function nextWish(random: SeededRandom, at: number): Wish {
  const model = random.pick(shares);
  const long = random.next() < 0.4 && !uncancellable.includes(model);
  const fails = model === "frail" && random.next() < 0.8;
  const slow = !fails && random.next() < 0.15;
  const head = fails ? random.pick(failures) : slow ? `[[sim delay after=0 ms=${100 + random.below(300)}]]` : "";
  const promptTokens = promptTokensMin + ((at * 31) % promptLengths);
  return {
    model,
    prompt: head.padEnd(promptTokens * bytesPerToken, " river"),
    promptTokens,
    stream: random.next() < 0.65,
    tokens: long ? 20 + random.below(60) : 1 + random.below(8),
    ...(random.next() < 0.06 ? { timeoutMs: 30 + random.below(300) } : {}),
    ...(random.next() < 0.2 ? { leave: nextLeave(random) } : {}),
  };
}

function nextLeave(random: SeededRandom): Leave {
  const atPieces = random.next() < 0.5;
  return {
    afterMs: atPieces ? 5_000 : random.below(250),
    afterPieces: atPieces ? 1 + random.below(10) : Infinity,
    reset: random.next() < 0.5,
  };
}
