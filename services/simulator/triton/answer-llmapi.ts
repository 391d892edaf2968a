import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Token } from "../text.ts";
import { engineFailure } from "./engine-failure.ts";
import type { Model } from "./models.ts";
import type { Reply } from "./reply.ts";
import type { Asked } from "./request.ts";
import { texts } from "./tensors.ts";

/**
 * Answers as TensorRT-LLM's LLM API does behind Triton: the whole text so far in each response, whole characters, no
 * counts, Python's None as text while the answer goes on, and the end on the last response.
 */
export class LlmapiAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #model: Model;
  readonly #reply: Reply;
  readonly #choice: ChoiceText;
  #text = "";
  #finish: string | undefined;
  #stop: string | undefined;

  constructor(asked: Asked, model: Model, reply: Reply) {
    this.#asked = asked;
    this.#model = model;
    this.#reply = reply;
    this.#choice = createChoiceText(asked.stops);
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    if (this.#finish !== undefined) return;
    const { text, stop } = this.#choice.push(token.bytes);
    this.#text += text;
    if (stop !== undefined) this.running?.finishChoice(index);
    else if (last !== undefined) this.#text += this.#choice.end();
    this.#finish = stop === undefined ? last : "stop";
    this.#stop = stop;
  }

  step(): void {
    if (this.#asked.stream) this.#send();
  }

  done(): void {
    if (!this.#asked.stream) this.#send();
    this.#reply.over();
  }

  failed(fault: Fault): void {
    if (fault.kind === "crash") return this.#reply.crash();
    if (fault.kind === "cut") return this.#reply.cut();
    if (fault.kind !== "early_end")
      this.#reply.error(engineFailure(this.#model, this.#asked.job.id), true, [texts("text_output", ["N/A"])]);
    this.#reply.over();
  }

  /** A request of the same id said stop: what is there was all. */
  stopped(): void {
    this.#finish = "cancelled";
    this.#send();
    this.#reply.over();
  }

  #send(): void {
    const outputs = [texts("text_output", [this.#text])];
    if (this.#asked.returns.finishReason) outputs.push(texts("finish_reason", [this.#finish ?? "None"]));
    if (this.#asked.returns.stopReason === true) outputs.push(texts("stop_reason", [this.#stop ?? "None"]));
    this.#reply.data(outputs, this.#finish !== undefined);
  }
}
