import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Token } from "../text.ts";
import { idsOf } from "../vocabulary.ts";
import { engineFailure } from "./engine-failure.ts";
import type { Model } from "./models.ts";
import type { Reply } from "./reply.ts";
import type { Asked } from "./request.ts";
import { numbers } from "./tensors.ts";

interface Choice {
  readonly ids: number[];
  ended: boolean;
}

/**
 * Answers as TensorRT-LLM's core model does: the new ids of a choice in each response, the token that ends it among them;
 * all of them in one, behind the prompt unless that is excluded, where nobody streams.
 */
export class CoreAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #model: Model;
  readonly #reply: Reply;
  readonly #choices: Choice[];

  constructor(asked: Asked, model: Model, reply: Reply) {
    this.#asked = asked;
    this.#model = model;
    this.#reply = reply;
    this.#choices = Array.from({ length: asked.job.choices }, () => ({ ids: [], ended: false }));
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    const choice = this.#choices[index];
    if (choice === undefined || choice.ended) return;
    const { job, ids: given, stream } = this.#asked;
    const end = last === "stop" && given?.end !== undefined ? [given.end] : [];
    // What must be said word for word has tokens of several bytes, which are as many ids here.
    const room = (job.maxTokens ?? Number.POSITIVE_INFINITY) - choice.ids.length;
    const ids = [...idsOf(token.bytes), ...end].slice(0, room);
    choice.ids.push(...ids);
    choice.ended = last !== undefined || ids.length === room;
    if (choice.ended && last === undefined) this.running?.finishChoice(index);
    if (!stream) return;
    const isLast = this.#choices.every((each) => each.ended);
    this.#send(index, ids, isLast);
  }

  step(): void {
    // Each choice has a response of its own.
  }

  done(): void {
    const { stream, excludesPrompt, ids } = this.#asked;
    if (!stream) {
      const prompt = excludesPrompt === true ? [] : (ids?.prompt ?? []);
      for (const [index, choice] of this.#choices.entries())
        this.#send(index, [...prompt, ...choice.ids], index === this.#choices.length - 1);
    }
    this.#reply.over();
  }

  failed(fault: Fault): void {
    if (fault.kind === "crash") return this.#reply.crash();
    if (fault.kind === "cut") return this.#reply.cut();
    if (fault.kind !== "early_end") this.#reply.error(engineFailure(this.#model, this.#asked.job.id), true);
    this.#reply.over();
  }

  /** A request of the same id said stop: what is there was all. */
  stopped(): void {
    this.#reply.emptyFinal();
    this.#reply.over();
  }

  #send(index: number, ids: readonly number[], final: boolean): void {
    this.#reply.data(
      [
        numbers("output_ids", "INT32", [1, 1, ids.length], ids),
        numbers("sequence_length", "INT32", [1, 1], [ids.length]),
        numbers("batch_index", "INT32", [1, 1], [0]),
        numbers("sequence_index", "INT32", [1, 1], [index]),
      ],
      final,
    );
  }
}
