import { CountSource, FinishReason, type TokenLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Answer } from "../answer.ts";
import { ChoiceOutput } from "../choice-output.ts";
import { isCount } from "../counts.ts";
import { EngineGaveUp } from "../grpc/call.ts";
import { StopFilter } from "../stop-filter.ts";
import type { InferMessage } from "./codec.ts";
import type { TritonInterface } from "./flavour.ts";
import { logprobsFrom } from "./logprobs.ts";
import { numberAt, placesOf, type Tensor, TensorProblem } from "./tensors.ts";
import { replacement, TextTrack } from "./text-track.ts";

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
  /** Counts the tokens of an answer in one piece, where the engine does not; undefined: only its responses can be counted. */
  readonly count: ((text: string) => Promise<number | undefined>) | undefined;
  /** How many of the likeliest tokens are told of each place. */
  readonly topLogprobs: number;
}

interface Choice {
  readonly output: ChoiceOutput;
  readonly track: TextTrack;
  readonly filter: StopFilter;
  /** Whether it had any output. */
  seen: boolean;
  /** As the engine counts; responses up to the last with text where it does not. */
  tokens: number;
  /** Responses without text since then. */
  silent: number;
  /** What the engine said, where its tokens have to be counted. */
  said: string;
  /** The engine's text ends inside a character. */
  broken: boolean;
}

/** The tensors that count, as far as the response has them. */
interface Named {
  readonly promptTokens?: Tensor | undefined;
  readonly output?: Tensor | undefined;
  /** The choice that it is of. */
  readonly place?: Tensor | undefined;
  readonly counts?: Tensor | undefined;
  readonly reasons?: Tensor | undefined;
  readonly stopReasons?: Tensor | undefined;
  readonly logprobs?: Tensor | undefined;
}

const finishReasons: ReadonlyMap<string, FinishReason> = new Map([
  ["stop", FinishReason.STOP],
  ["length", FinishReason.LENGTH],
  ["repetition", FinishReason.STOP],
]);

/**
 * The tokens of a text that was cut inside a word may be one less than those that it was written in. Where fewer than eight
 * were allowed, one less is rather a whole answer, and the token that ended it.
 */
const cut = { tokens: 1, limitLeast: 8 };

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
  #known: readonly Tensor[] | undefined;
  #named: Named = {};
  // Where the texts of the last response lie.
  readonly #texts: number[] = [];
  readonly #reasons: number[] = [];
  readonly #stopReasons: number[] = [];
  readonly #logprobs: number[] = [];

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#choices = Array.from({ length: options.outlet.choices }, (_, index) => ({
      output: new ChoiceOutput(options.outlet, index),
      track: new TextTrack(options.model.textMode, options.prompt),
      filter: new StopFilter(options.stops),
      seen: false,
      tokens: 0,
      silent: 0,
      said: "",
      broken: false,
    }));
  }

  /**
   * Reads the tensors of a response.
   * @returns whether it held text of a choice that a stop text has ended: the engine goes on for nothing.
   * @throws TensorProblem for tensors that are not what they should be.
   */
  read(message: InferMessage): boolean {
    const { outlet, topLogprobs } = this.#options;
    if (message.tensors !== this.#known) this.#find(message.tensors);
    const { promptTokens, output, place, counts, reasons, stopReasons, logprobs } = this.#named;
    const said = promptTokens ? numberAt(promptTokens, 0) : undefined;
    if (isCount(said)) this.#promptTokens = said;
    if (!output) {
      if (message.tensors.length === 0) return false;
      throw new TensorProblem("there is no text_output");
    }
    const texts = placesOf(output, this.#texts);
    const ends = reasons ? placesOf(reasons, this.#reasons) : 0;
    const found = stopReasons ? placesOf(stopReasons, this.#stopReasons) : 0;
    const scored = logprobs ? placesOf(logprobs, this.#logprobs) : 0;
    let wasted = false;
    for (let index = 0; index < texts; index += 1) {
      const choice = texts === 1 && place ? (numberAt(place, 0) ?? 0) : index;
      if (!outlet.has(choice)) throw new TensorProblem(`choice ${choice} was not asked for`);
      const [start = 0, end = 0] = [this.#texts[2 * index], this.#texts[2 * index + 1]];
      if (end > start && outlet.isFinished(choice)) wasted = true;
      const told = index < scored ? logprobsFrom(textAt(logprobs, this.#logprobs, index), topLogprobs) : undefined;
      this.#text(choice, output.bytes, start, end, counts && numberAt(counts, index), told);
      const reason = index < ends ? textAt(reasons, this.#reasons, index) : "";
      // Python writes its None as text while a choice goes on.
      if (reason !== "" && reason !== "None")
        this.#end(choice, reason, index < found ? textAt(stopReasons, this.#stopReasons, index) : undefined);
    }
    this.#tellCounts();
    return wasted;
  }

  /** A model names its tensors in the same way in each response: they are looked up once. */
  #find(tensors: readonly Tensor[]): void {
    const named = (name: string) => tensors.find((tensor) => tensor.name === name);
    this.#known = tensors;
    this.#named = {
      promptTokens: named("num_input_tokens"),
      output: named("text_output"),
      place: named("sequence_index"),
      counts: named("num_output_tokens"),
      reasons: named("finish_reason"),
      stopReasons: named("stop_reason"),
      logprobs: named("logprobs"),
    };
  }

  /**
   * The engine says that this was all. Choices whose end it should have told stay open; of the others the number of tokens
   * tells why they ended. A promise if those have to be counted.
   */
  ended(): Promise<void> | undefined {
    const { model, outlet, maxTokens, count } = this.#options;
    if ("return_finish_reason" in model.inputs && model.outputs.includes("finish_reason")) return undefined;
    const open = [...this.#choices.entries()].filter(([index, { seen }]) => seen && !outlet.isFinished(index));
    const finish = (index: number, isCut: boolean) =>
      this.#finish(index, isCut ? FinishReason.LENGTH : FinishReason.STOP);
    if (!count || this.#counts) {
      for (const [index, { tokens }] of open) finish(index, tokens >= maxTokens);
      return undefined;
    }
    const enough = maxTokens < cut.limitLeast ? maxTokens : maxTokens - cut.tokens;
    const judge = async ([index, { said, broken }]: readonly [number, Choice]) => {
      const tokens = said === "" || broken ? 0 : await count(said);
      finish(index, broken || (tokens ?? 0) >= enough);
    };
    return Promise.all(open.map(judge)).then(() => undefined);
  }

  #text(
    index: number,
    bytes: Buffer,
    start: number,
    end: number,
    counted: number | undefined,
    logprobs: TokenLogprob[] | undefined,
  ): void {
    const choice = this.#choices[index];
    if (!choice) return;
    choice.seen = true;
    if (isCount(counted)) {
      this.#counts = true;
      choice.tokens += counted;
      choice.output.counted(counted);
    } else if (end > start) {
      choice.tokens += choice.silent + 1;
      choice.silent = 0;
    } else choice.silent += 1;
    if (this.#options.outlet.isFinished(index)) return;
    const said = choice.track.push(bytes, start, end);
    if (this.#options.count) {
      choice.said += said;
      choice.broken = bytes.subarray(start, end).toString("utf8").endsWith(replacement);
    }
    const { text, stop } = choice.filter.push(said);
    choice.output.text(text, logprobs);
    if (stop !== undefined) choice.output.finish(FinishReason.STOP, stop);
  }

  /** `found`: the stop text that the engine found, if it says so. */
  #end(index: number, reason: string, found: string | undefined): void {
    if (gaveUp.has(reason)) throw new EngineGaveUp(reason);
    this.#finish(index, finishReasons.get(reason) ?? FinishReason.STOP, found);
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

/** A text of which `placesOf` has told the place. */
function textAt(tensor: Tensor | undefined, places: readonly number[], index: number): string {
  const [start = 0, end = 0] = [places[2 * index], places[2 * index + 1]];
  return tensor === undefined || start === end ? "" : tensor.bytes.toString("utf8", start, end);
}
