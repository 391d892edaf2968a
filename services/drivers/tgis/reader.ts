import { fromBinary } from "@bufbuild/protobuf";
import { StopReason, TokenInfoSchema } from "../../../gen/ts/engine/tgis/generation_pb.ts";
import { CountSource, FinishReason, type TokenLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Answer } from "../answer.ts";
import { ChoiceOutput } from "../choice-output.ts";
import { isCount } from "../counts.ts";
import { EngineGaveUp, type Listener } from "../grpc/call.ts";
import { logprobLeast } from "../logprob.ts";
import { StopFilter } from "../stop-filter.ts";
import type { GenerationMessage } from "./codec.ts";
import { failureFromTgisStatus } from "./errors.ts";
import { bytesOfPiece, type PieceForm } from "./pieces.ts";

const finishReasons: Readonly<Record<number, FinishReason>> = {
  [StopReason.MAX_TOKENS]: FinishReason.LENGTH,
  [StopReason.TOKEN_LIMIT]: FinishReason.LENGTH,
  [StopReason.TIME_LIMIT]: FinishReason.LENGTH,
  [StopReason.EOS_TOKEN]: FinishReason.STOP,
  [StopReason.STOP_SEQUENCE]: FinishReason.STOP,
};

/**
 * Reads the answer to one prompt, in one message or in many. Its texts are new, its count of tokens is of all so far;
 * the last message says why it ended, and the end of the call ends the answer.
 */
export class TgisListener implements Listener<GenerationMessage> {
  readonly failureFrom = failureFromTgisStatus;
  readonly #answer: Answer;
  readonly #output: ChoiceOutput;
  readonly #filter: StopFilter;
  readonly #pieces: PieceForm | undefined;
  #promptTokens = 0;
  #tokens = 0;

  /** `pieces`: log probabilities were asked for, and tokens are written so. */
  constructor(answer: Answer, stops: readonly string[], pieces: PieceForm | undefined) {
    this.#answer = answer;
    this.#output = new ChoiceOutput(answer, 0);
    this.#filter = new StopFilter(stops);
    this.#pieces = pieces;
  }

  message(message: GenerationMessage): void {
    const answer = this.#answer;
    answer.touch();
    if (answer.complete) {
      // It goes on after its end, for nothing.
      if (message.text !== "") answer.end(true);
      return;
    }
    answer.accept();
    this.#countUp(message);
    const { text, stop } = this.#filter.push(message.text);
    const logprobs = this.#logprobsOf(message.tokens);
    if (stop !== undefined) {
      this.#output.text(text, logprobs);
      this.#finish(FinishReason.STOP, stop);
      // The engine was not told of this stop text, and goes on.
      if (message.reason === StopReason.NOT_FINISHED) answer.end(true);
    } else if (message.reason === StopReason.NOT_FINISHED) {
      this.#output.text(text, logprobs);
    } else {
      const reason = finishReasonOf(message.reason);
      this.#output.text(text + this.#filter.flush(), logprobs);
      this.#finish(reason, message.reason === StopReason.STOP_SEQUENCE ? message.stop : "");
    }
  }

  /** A count that is lower than one before is none. */
  #countUp({ input, generated }: GenerationMessage): void {
    if (isCount(input) && input > 0) this.#promptTokens = input;
    if (!isCount(generated) || generated <= this.#tokens) return;
    this.#output.counted(generated - this.#tokens);
    this.#tokens = generated;
  }

  #finish(reason: FinishReason, stop: string): void {
    this.#output.finish(reason, stop);
    const sourceOf = (count: number) => (count > 0 ? CountSource.ENGINE : CountSource.UNSPECIFIED);
    if (this.#promptTokens === 0 && this.#tokens === 0) return;
    this.#answer.count({
      promptTokens: this.#promptTokens,
      completionTokens: this.#tokens,
      promptSource: sourceOf(this.#promptTokens),
      completionSource: sourceOf(this.#tokens),
    });
  }

  #logprobsOf(tokens: readonly Uint8Array[]): TokenLogprob[] {
    const form = this.#pieces;
    if (form === undefined) return [];
    return tokens.map((bytes) => {
      const { text, logprob, topTokens } = fromBinary(TokenInfoSchema, bytes);
      return {
        $typeName: "weir.router.v1.TokenLogprob",
        ...scored(form, text, logprob),
        top: topTokens.map((top) => ({
          $typeName: "weir.router.v1.TopLogprob",
          ...scored(form, top.text, top.logprob),
        })),
        unscored: false,
      };
    });
  }
}

function scored(form: PieceForm, piece: string, logprob: number) {
  const bytes = bytesOfPiece(form, piece);
  return {
    token: Buffer.from(bytes).toString("utf8"),
    bytes,
    logprob: Number.isFinite(logprob) ? logprob : logprobLeast,
  };
}

/** Why the choice ended. Throws if it did not end well, or for no reason that there is. */
function finishReasonOf(reason: number): FinishReason {
  if (reason === StopReason.CANCELLED) throw new EngineGaveUp("the engine cancelled the request");
  if (reason === StopReason.ERROR) throw new EngineGaveUp("the engine failed the request");
  const known = finishReasons[reason];
  if (known === undefined) throw new Error(`stop reason ${reason}`);
  return known;
}
