import { FinishInfo_FinishReason } from "../../../gen/ts/engine/vllm/inference_pb.ts";
import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Answer } from "../answer.ts";
import { ChoiceOutput } from "../choice-output.ts";
import { isCount } from "../counts.ts";
import { EngineGaveUp, type Listener } from "../grpc/call.ts";
import type { End, GenerationMessage, Output } from "./codec.ts";
import { failureFromVllmStatus } from "./errors.ts";

/**
 * Reads the answer to one prompt, in one message or in many. The first one counts the prompt; text, ids and counts of the
 * others are new; the last one says why it ended and how many tokens there were, and the end of the call ends the answer.
 */
export class VllmListener implements Listener<GenerationMessage> {
  readonly failureFrom = failureFromVllmStatus;
  readonly #answer: Answer;
  readonly #output: ChoiceOutput;
  #promptTokens: number | undefined;
  #tokens = 0;

  constructor(answer: Answer) {
    this.#answer = answer;
    this.#output = new ChoiceOutput(answer, 0);
  }

  message({ promptTokens, output }: GenerationMessage): void {
    const answer = this.#answer;
    answer.touch();
    if (answer.complete) {
      // It goes on after its end, for nothing.
      if (output && output.text !== "") answer.end(true);
      return;
    }
    answer.accept();
    if (isCount(promptTokens)) this.#promptTokens = promptTokens;
    if (output) this.#read(output);
  }

  #read({ index, text, tokens, tokenIds, end }: Output): void {
    if (index !== 0) throw new Error(`choice ${index} was not asked for`);
    const reason = end && finishReasonOf(end);
    if (isCount(tokens)) {
      this.#tokens += tokens;
      this.#output.counted(tokens);
    }
    this.#output.text(text, [], tokenIds);
    if (!end || reason === undefined) return;
    this.#output.finish(reason, end.stop);
    this.#count(end);
  }

  /** The engine's own sum holds, unless it is none or forgets tokens that came. */
  #count(end: End): void {
    const completionTokens = isCount(end.tokens) ? Math.max(end.tokens, this.#tokens) : this.#tokens;
    const { ENGINE, UNSPECIFIED } = CountSource;
    if (this.#promptTokens === undefined && completionTokens === 0) return;
    this.#answer.count({
      promptTokens: this.#promptTokens ?? 0,
      completionTokens,
      promptSource: this.#promptTokens === undefined ? UNSPECIFIED : ENGINE,
      completionSource: completionTokens === 0 ? UNSPECIFIED : ENGINE,
    });
  }
}

/** Why the choice ended; undefined: it did not. Throws if it did not end well, or for no reason that there is. */
function finishReasonOf({ reason }: End): FinishReason | undefined {
  switch (reason) {
    case FinishInfo_FinishReason.NOT_FINISHED:
      return undefined;
    case FinishInfo_FinishReason.LENGTH:
      return FinishReason.LENGTH;
    case FinishInfo_FinishReason.STOP:
      return FinishReason.STOP;
    case FinishInfo_FinishReason.ABORTED:
      throw new EngineGaveUp("the engine aborted the request");
    default:
      throw new Error(`finish reason ${reason}`);
  }
}
