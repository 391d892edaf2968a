import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Token } from "../text.ts";
import { engineFailure } from "./engine-failure.ts";
import type { Model } from "./models.ts";
import type { Reply } from "./reply.ts";
import type { Asked } from "./request.ts";
import { logprobsText } from "./logprobs.ts";
import { numbers, type OutputTensor, texts } from "./tensors.ts";

interface Choice {
  readonly text: ChoiceText;
  /** Since the last response. */
  shown: string;
  tokens: Token[];
  finish: "stop" | "length" | undefined;
}

/**
 * Answers as Triton's vLLM backend does: a response for each step with an element for each choice, whole characters,
 * Python's None as text while a choice goes on, the count of the prompt without a dimension, and the end on the last
 * response.
 */
export class VllmAnswer implements JobSink {
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
      text: createChoiceText(asked.stops),
      shown: "",
      tokens: [],
      finish: undefined,
    }));
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    const choice = this.#choices[index];
    if (choice === undefined || choice.finish !== undefined) return;
    const { text, stop } = choice.text.push(token.bytes);
    choice.shown += text;
    choice.tokens.push(token);
    if (stop !== undefined) this.running?.finishChoice(index);
    else if (last !== undefined) choice.shown += choice.text.end();
    choice.finish = stop === undefined ? last : "stop";
  }

  step(): void {
    if (this.#asked.stream) this.#send("");
  }

  done(): void {
    if (!this.#asked.stream) this.#send(this.#asked.excludesPrompt === true ? "" : this.#asked.job.prompt);
    this.#reply.over();
  }

  failed(fault: Fault): void {
    if (fault.kind === "crash") return this.#reply.crash();
    if (fault.kind === "cut") return this.#reply.cut();
    if (fault.kind !== "early_end")
      this.#reply.error(engineFailure(this.#model, this.#asked.job.id), true, [texts("text_output", ["N/A"])]);
    this.#reply.over();
  }

  #send(prefix: string): void {
    const { returns } = this.#asked;
    const choices = this.#choices;
    const outputs: OutputTensor[] = [
      texts(
        "text_output",
        choices.map(({ shown }) => prefix + shown),
      ),
    ];
    if (returns.finishReason)
      outputs.push(
        texts(
          "finish_reason",
          choices.map(({ finish }) => finish ?? "None"),
        ),
      );
    if (returns.logprobs)
      outputs.push(
        texts(
          "logprobs",
          choices.map(({ tokens }) => logprobsText(tokens, this.#asked.topLogprobs)),
        ),
      );
    if (returns.inputTokens) outputs.push(numbers("num_input_tokens", "UINT32", [], [this.running?.promptTokens ?? 0]));
    if (returns.outputTokens) {
      const counts = choices.map(({ tokens }) => tokens.length);
      outputs.push(numbers("num_output_tokens", "UINT32", [counts.length], counts));
    }
    this.#reply.data(
      outputs,
      choices.every(({ finish }) => finish !== undefined),
    );
    for (const choice of choices) {
      choice.shown = "";
      choice.tokens = [];
    }
  }
}
