import { CountSource, FinishReason } from "../../../../gen/ts/weir/router/v1/event_pb.ts";
import { ChoiceOutput } from "../../choice-output.ts";
import { StopFilter } from "../../stop-filter.ts";
import { Detokenizer } from "../../tokens/detokenizer.ts";
import type { Vocabulary } from "../../tokens/vocabulary.ts";
import type { InferMessage } from "../codec.ts";
import type { Outlet } from "../reader.ts";
import { numbersOf, type Tensor, TensorProblem } from "../tensors.ts";

export interface CoreReaderOptions {
  readonly outlet: Outlet;
  readonly vocabulary: Vocabulary;
  readonly stops: readonly string[];
  readonly stopTokenIds: readonly number[];
  /** How many tokens the prompt has. */
  readonly promptTokens: number;
  /** What is taken off the beginning of an answer that repeats it; empty if the engine leaves it out. */
  readonly prompt: Uint32Array;
  /** What the engine was asked for, a choice. */
  readonly maxTokens: number;
  /** Tokens that are no text are told as they are written. */
  readonly showsSpecial: boolean;
  /** Ids are told along with the text that they make. */
  readonly tellsIds: boolean;
}

interface Choice {
  readonly output: ChoiceOutput;
  readonly detokenizer: Detokenizer;
  readonly filter: StopFilter;
  seen: boolean;
  tokens: number;
}

const none = new Uint32Array();

/**
 * Reads the token ids of one generation. Each is a token: the counts are exact. A choice ends at a token that ends it, at a
 * stop text, or as the engine says; it never says why, so the number of tokens tells.
 */
export class CoreReader {
  readonly #options: CoreReaderOptions;
  readonly #choices: Choice[];
  readonly #ends: ReadonlySet<number>;

  constructor(options: CoreReaderOptions) {
    this.#options = options;
    this.#ends = new Set([...options.vocabulary.endIds, ...options.stopTokenIds]);
    this.#choices = Array.from({ length: options.outlet.choices }, (_, index) => ({
      output: new ChoiceOutput(options.outlet, index),
      detokenizer: new Detokenizer(options.vocabulary, options.showsSpecial),
      filter: new StopFilter(options.stops),
      seen: false,
      tokens: 0,
    }));
  }

  /**
   * Reads the tensors of a response.
   * @returns whether a choice has ended of which the engine may not know: it goes on for nothing.
   * @throws TensorProblem for tensors that are not what they should be.
   */
  read(message: InferMessage): boolean {
    const named = new Map(message.tensors.map((tensor) => [tensor.name, tensor]));
    const output = named.get("output_ids");
    if (!output) {
      if (message.tensors.length === 0) return false;
      throw new TensorProblem("there is no output_ids");
    }
    const place = firstOf(named.get("sequence_index")) ?? 0;
    if (!this.#options.outlet.has(place)) throw new TensorProblem(`choice ${place} was not asked for`);
    const choice = this.#choices[place];
    const wasted = choice !== undefined && this.#ids(place, choice, idsOf(output, named.get("sequence_length")));
    this.#tellCounts();
    return wasted;
  }

  /** The engine says that this was all. */
  ended(): undefined {
    const { outlet, maxTokens } = this.#options;
    for (const [index, choice] of this.#choices.entries()) {
      if (!choice.seen || outlet.isFinished(index)) continue;
      const reason = choice.tokens >= maxTokens ? FinishReason.LENGTH : FinishReason.STOP;
      this.#finish(choice, reason);
    }
  }

  #ids(index: number, choice: Choice, all: readonly number[]): boolean {
    const { outlet, vocabulary, tellsIds } = this.#options;
    const ids = this.#withoutPrompt(choice, all);
    choice.seen ||= ids.length > 0;
    choice.tokens += ids.length;
    if (outlet.isFinished(index)) return ids.length > 0;
    choice.output.counted(ids.length);
    const end = ids.findIndex((id) => this.#ends.has(id));
    const told = end < 0 ? ids : ids.slice(0, end);
    const { text, stop } = choice.filter.push(choice.detokenizer.push(told));
    choice.output.text(text, [], tellsIds ? ids.slice() : []);
    if (stop !== undefined) choice.output.finish(FinishReason.STOP, stop);
    else if (end >= 0) this.#finish(choice, FinishReason.STOP);
    else return false;
    // The engine was told of one token that ends an answer, and perhaps of others, but of no stop text.
    return stop !== undefined || ids[end] !== vocabulary.endIds[0];
  }

  #finish({ filter, detokenizer, output }: Choice, reason: FinishReason): void {
    const { text, stop } = filter.push(detokenizer.flush());
    output.text(stop === undefined ? text + filter.flush() : text);
    output.finish(stop === undefined ? reason : FinishReason.STOP, stop);
  }

  /** The prompt is repeated at the beginning, or it is not at all. */
  #withoutPrompt(choice: Choice, ids: readonly number[]): readonly number[] {
    const prompt = choice.seen ? none : this.#options.prompt;
    if (prompt.length === 0 || ids.length < prompt.length) return ids;
    return prompt.every((id, at) => ids[at] === id) ? ids.slice(prompt.length) : ids;
  }

  #tellCounts(): void {
    this.#options.outlet.count({
      promptTokens: this.#options.promptTokens,
      completionTokens: this.#choices.reduce((sum, { tokens }) => sum + tokens, 0),
      promptSource: CountSource.ENGINE,
      completionSource: CountSource.ENGINE,
    });
  }
}

/** The ids that are not padding. */
function idsOf(output: Tensor, lengths: Tensor | undefined): readonly number[] {
  const ids = numbersOf(output);
  const length = firstOf(lengths);
  return length !== undefined && length >= 0 && length < ids.length ? ids.slice(0, length) : ids;
}

function firstOf(tensor: Tensor | undefined): number | undefined {
  return tensor ? numbersOf(tensor)[0] : undefined;
}
