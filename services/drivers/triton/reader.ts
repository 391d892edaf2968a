import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Answer } from "../answer.ts";
import { ChoiceOutput } from "../choice-output.ts";
import { isCount } from "../counts.ts";
import { EngineGaveUp } from "../grpc/call.ts";
import { StopFilter } from "../stop-filter.ts";
import type { InferMessage } from "./codec.ts";
import type { TritonInterface } from "./flavour.ts";
import { numbersOf, type Tensor, TensorProblem, textsOf } from "./tensors.ts";
import { TextTrack } from "./text-track.ts";

/** The part of an {@link Answer} that a reader speaks to. */
export type Outlet = Pick<Answer, "choices" | "has" | "isFinished" | "event" | "finish" | "count">;

export interface ReaderOptions {
  readonly model: TritonInterface;
  readonly outlet: Outlet;
  readonly stops: readonly string[];
  /** What is taken off the beginning of each text; empty if the engine was told to leave it out. */
  readonly prompt: string;
  /** What the engine was asked for, a choice. */
  readonly maxTokens: number;
}

interface Choice {
  readonly output: ChoiceOutput;
  readonly track: TextTrack;
  readonly filter: StopFilter;
  /** Whether it had any output. */
  seen: boolean;
  /** As the engine counts; responses with text where it does not. */
  tokens: number;
}

const finishReasons: Readonly<Record<string, FinishReason>> = {
  stop: FinishReason.STOP,
  length: FinishReason.LENGTH,
  repetition: FinishReason.STOP,
};

const gaveUp: ReadonlySet<string> = new Set(["abort", "error", "cancelled", "timeout"]);

/**
 * Reads the responses of one generation. The vLLM backend and the LLM API say why a choice ended; TensorRT-LLM's other
 * models do not, so there the number of tokens tells. Stop texts are enforced here on every flavour.
 */
export class Reader {
  readonly #options: ReaderOptions;
  readonly #choices: Choice[];
  #promptTokens: number | undefined;
  #counts = false;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#choices = Array.from({ length: options.outlet.choices }, (_, index) => ({
      output: new ChoiceOutput(options.outlet, index),
      track: new TextTrack(options.model.textMode, options.prompt),
      filter: new StopFilter(options.stops),
      seen: false,
      tokens: 0,
    }));
  }

  /**
   * Reads the tensors of a response.
   * @returns whether it held text of a choice that a stop text has ended: the engine goes on for nothing.
   * @throws TensorProblem for tensors that are not what they should be.
   */
  read(message: InferMessage): boolean {
    const { tensors } = message;
    this.#promptTokens = firstCount(named(tensors, "num_input_tokens")) ?? this.#promptTokens;
    const output = named(tensors, "text_output");
    if (!output) {
      if (tensors.length === 0) return false;
      throw new TensorProblem("there is no text_output");
    }
    const texts = textsOf(output);
    const places = texts.length === 1 ? named(tensors, "sequence_index") : undefined;
    const counts = named(tensors, "num_output_tokens");
    const counted = counts ? numbersOf(counts) : [];
    const reasons = named(tensors, "finish_reason");
    const ends = reasons ? stringsOf(reasons) : [];
    const stopReasons = named(tensors, "stop_reason");
    const found = stopReasons ? stringsOf(stopReasons) : [];
    let wasted = false;
    texts.forEach((text, index) => {
      const place = places ? (numbersOf(places)[0] ?? 0) : index;
      if (!this.#options.outlet.has(place)) throw new TensorProblem(`choice ${place} was not asked for`);
      if (this.#options.outlet.isFinished(place) && text.length > 0) wasted = true;
      this.#text(place, text, counted[index]);
      this.#end(place, ends[index], found[index]);
    });
    this.#tellCounts();
    return wasted;
  }

  /** The engine says that this was all. Choices whose end it should have told stay open. */
  ended(): void {
    const { model, outlet, maxTokens } = this.#options;
    const tells = "return_finish_reason" in model.inputs && model.outputs.includes("finish_reason");
    this.#choices.forEach((choice, index) => {
      if (tells || !choice.seen || outlet.isFinished(index)) return;
      this.#finish(index, choice.tokens >= maxTokens ? FinishReason.LENGTH : FinishReason.STOP);
    });
  }

  #text(index: number, bytes: Uint8Array, counted: number | undefined): void {
    const choice = this.#choices[index];
    if (!choice) return;
    choice.seen = true;
    if (isCount(counted)) {
      this.#counts = true;
      choice.tokens += counted;
      choice.output.counted(counted);
    } else if (bytes.length > 0) {
      choice.tokens += 1;
    }
    if (this.#options.outlet.isFinished(index)) return;
    const { text, stop } = choice.filter.push(choice.track.push(bytes));
    choice.output.text(text);
    if (stop !== undefined) choice.output.finish(FinishReason.STOP, stop);
  }

  /** `found`: the stop text that the engine found, if it says so. */
  #end(index: number, reason: string | undefined, found: string | undefined): void {
    // Python writes its None as text while a choice goes on.
    if (reason === undefined || reason === "" || reason === "None") return;
    if (gaveUp.has(reason)) throw new EngineGaveUp(reason);
    this.#finish(index, finishReasons[reason] ?? FinishReason.STOP, found);
  }

  #finish(index: number, reason: FinishReason, found?: string): void {
    const choice = this.#choices[index];
    if (!choice || this.#options.outlet.isFinished(index)) return;
    const { text, stop } = choice.filter.push(choice.track.flush());
    // The LLM API leaves out a stop text's last token only: what is held back then is the beginning of it.
    const stopped = stop ?? this.#options.stops.find((one) => one === found);
    choice.output.text(stopped === undefined ? text + choice.filter.flush() : text);
    choice.output.finish(stopped === undefined ? reason : FinishReason.STOP, stopped);
  }

  #tellCounts(): void {
    if (this.#promptTokens === undefined && !this.#counts) return;
    this.#options.outlet.count({
      promptTokens: this.#promptTokens ?? 0,
      completionTokens: this.#counts ? this.#choices.reduce((sum, choice) => sum + choice.tokens, 0) : 0,
      promptSource: this.#promptTokens === undefined ? CountSource.UNSPECIFIED : CountSource.ENGINE,
      completionSource: this.#counts ? CountSource.ENGINE : CountSource.UNSPECIFIED,
    });
  }
}

/** There are a handful of them: to look through them is cheaper than a map of them. */
function named(tensors: readonly Tensor[], name: string): Tensor | undefined {
  for (const tensor of tensors) if (tensor.name === name) return tensor;
  return undefined;
}

function stringsOf(tensor: Tensor): string[] {
  return textsOf(tensor).map((text) => text.toString());
}

function firstCount(tensor: Tensor | undefined): number | undefined {
  const value = tensor ? numbersOf(tensor)[0] : undefined;
  return isCount(value) ? value : undefined;
}
