import type { FinishReason, TokenLogprob } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { Answer } from "./answer.ts";
import { delta, deltaEvent } from "./events.ts";

/** The part of an {@link Answer} that a choice speaks to. */
export type ChoiceOutlet = Pick<Answer, "event" | "finish">;

/**
 * What one choice tells: its texts, each with the number of tokens since the text before, and its finish. Tokens without
 * a text, such as those of a stop text, are told before the finish.
 */
export class ChoiceOutput {
  readonly #outlet: ChoiceOutlet;
  readonly #choice: number;
  #untold = 0;

  constructor(outlet: ChoiceOutlet, choice: number) {
    this.#outlet = outlet;
    this.#choice = choice;
  }

  /** The engine says that so many tokens came. */
  counted(tokens: number): void {
    this.#untold += tokens;
  }

  /** Nothing is told of an empty text, unless something comes with it. */
  text(text: string, logprobs?: TokenLogprob[], tokenIds?: number[]): void {
    if (text === "" && !logprobs?.length && !tokenIds?.length) return;
    this.#tell(text, logprobs, tokenIds);
  }

  finish(reason: FinishReason, stopSequence = ""): void {
    if (this.#untold > 0) this.#tell("");
    this.#outlet.finish(this.#choice, reason, stopSequence);
  }

  #tell(text: string, logprobs?: TokenLogprob[], tokenIds?: number[]): void {
    const told = delta(this.#choice, { case: "text", value: text }, this.#untold);
    if (logprobs) told.logprobs = logprobs;
    if (tokenIds) told.tokenIds = tokenIds;
    this.#untold = 0;
    this.#outlet.event(deltaEvent(told));
  }
}
