import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Token } from "../text.ts";
import { engineFailure } from "./engine-failure.ts";
import type { Model } from "./models.ts";
import type { Reply } from "./reply.ts";
import type { Asked } from "./request.ts";
import { createStopWords, type StopWords } from "./stop-words.ts";
import { numbers, type OutputTensor, texts } from "./tensors.ts";

interface Choice {
  readonly stop: StopWords;
  readonly pieces: Buffer[];
  tokens: number;
  ended: boolean;
}

const logprob = -0.5;

/**
 * Answers as TensorRT-LLM's ensemble and BLS models do: a response for each token of each choice, no reason for an end,
 * and the stop word left in the text. The ensemble decodes each token for itself, so that a character of several tokens
 * is broken; BLS sends the whole text so far, with the broken character at its end until it is whole.
 */
export class TensorrtAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #model: Model;
  readonly #reply: Reply;
  readonly #choices: Choice[];

  constructor(asked: Asked, model: Model, reply: Reply) {
    this.#asked = asked;
    this.#model = model;
    this.#reply = reply;
    this.#choices = Array.from({ length: asked.job.choices }, () => ({
      stop: createStopWords(asked.stops),
      pieces: [],
      tokens: 0,
      ended: false,
    }));
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    const choice = this.#choices[index];
    if (choice === undefined || choice.ended) return;
    choice.tokens++;
    const stopped = choice.stop.push(token.bytes);
    choice.ended = stopped || last !== undefined;
    if (stopped) this.running?.finishChoice(index);
    const isBls = this.#model.flavour === "bls";
    if (isBls || !this.#asked.stream) choice.pieces.push(token.bytes);
    if (!this.#asked.stream) return;
    const text = isBls ? this.#wholeText(choice) : token.bytes.toString("utf8");
    this.#send(index, text, 1, !isBls && this.#choices.every((each) => each.ended));
  }

  step(): void {
    // Each choice has a response of its own.
  }

  done(): void {
    if (!this.#asked.stream) {
      const prompt = this.#asked.excludesPrompt === true ? "" : this.#asked.job.prompt;
      for (const [index, choice] of this.#choices.entries()) {
        const isLast = index === this.#choices.length - 1;
        const text = prompt + this.#wholeText(choice);
        this.#send(index, text, choice.tokens, isLast && this.#model.flavour === "ensemble");
      }
    }
    if (this.#model.flavour === "bls") this.#reply.emptyFinal();
    this.#reply.over();
  }

  failed(fault: Fault): void {
    if (fault.kind === "crash") return this.#reply.crash();
    if (fault.kind === "cut") return this.#reply.cut();
    if (fault.kind !== "early_end") {
      const isBls = this.#model.flavour === "bls";
      this.#reply.error(engineFailure(this.#model, this.#asked.job.id), !isBls);
      if (isBls) this.#reply.emptyFinal();
    }
    this.#reply.over();
  }

  /** A request of the same id said stop: what is there was all. */
  stopped(): void {
    this.#reply.emptyFinal();
    this.#reply.over();
  }

  #wholeText({ pieces, stop }: Choice): string {
    const bytes = Buffer.concat(pieces);
    // BLS keeps the stop word and drops what its last token says beyond it.
    return (this.#model.flavour === "bls" ? bytes.subarray(0, stop.end ?? bytes.length) : bytes).toString("utf8");
  }

  #send(index: number, text: string, tokens: number, final: boolean): void {
    const { returns } = this.#asked;
    const outputs: OutputTensor[] = [
      texts("text_output", [text]),
      numbers("batch_index", "INT32", [1, 1], [0]),
      numbers("sequence_index", "INT32", [1, 1], [index]),
    ];
    if (returns.inputTokens)
      outputs.push(numbers("num_input_tokens", "INT32", [1, 1], [this.running?.promptTokens ?? 0]));
    if (returns.outputTokens) outputs.push(numbers("num_output_tokens", "INT32", [1, 1], [tokens]));
    if (returns.logprobs) {
      const each = new Array<number>(tokens).fill(logprob);
      outputs.push(numbers("output_log_probs", "FP32", [1, 1, tokens], each));
      outputs.push(numbers("cum_log_probs", "FP32", [1, 1], [logprob * tokens]));
    }
    this.#reply.data(outputs, final);
  }
}
