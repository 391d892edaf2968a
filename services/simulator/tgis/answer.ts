import type { MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import {
  type GenerationResponseSchema,
  StopReason,
  type TokenInfoSchema,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Outlet } from "../grpc/outlet.ts";
import { scoredFrom } from "../scored.ts";
import type { Token } from "../text.ts";
import { pieceOf, piecesOf } from "./pieces.ts";
import { type Asked, unexpected } from "./request.ts";

// The form without a type's name: literals.
export type Response = Extract<MessageInitShape<typeof GenerationResponseSchema>, { $typeName?: never }>;
type TokenInfo = Extract<MessageInitShape<typeof TokenInfoSchema>, { $typeName?: never }>;

/** The piece of the model's end-of-text token. */
const eosPiece = "</s>";

/**
 * Answers as vLLM's TGIS adapter does: a stream begins with the prompt's count and the seed; each message after that has
 * the text that is new and the count of all tokens so far, so that a message whose characters were not whole before holds
 * several; the last one says why. Otherwise all is one message.
 */
export class TgisAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #streams: boolean;
  readonly #outlet: Outlet<Response>;
  readonly #clock: Clock;
  readonly #text: ChoiceText;
  readonly #deadlineMs: number;
  #shown = "";
  #tokens: TokenInfo[] = [];
  #count = 0;
  #began = false;
  #end: { readonly reason: StopReason; readonly stop: string } | undefined;

  constructor(asked: Asked, streams: boolean, outlet: Outlet<Response>, clock: Clock) {
    this.#asked = asked;
    this.#streams = streams;
    this.#outlet = outlet;
    this.#clock = clock;
    this.#text = createChoiceText(asked.stops);
    this.#deadlineMs = clock.monotonicMs() + (asked.timeLimitMs ?? Number.POSITIVE_INFINITY);
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    if (this.#end !== undefined) return;
    const { text, stop } = this.#text.push(token.bytes);
    this.#shown += text;
    this.#count += 1;
    if (this.#asked.tokens.generated) this.#tokens.push(this.#infoOf(token));
    if (stop !== undefined) {
      this.#end = { reason: StopReason.STOP_SEQUENCE, stop };
      if (this.#asked.includesStop) this.#shown += stop;
    } else if (last === "stop") {
      this.#end = { reason: StopReason.EOS_TOKEN, stop: eosPiece };
    } else if (last === "length") {
      this.#end = { reason: this.#asked.limitIsOurs ? StopReason.TOKEN_LIMIT : StopReason.MAX_TOKENS, stop: "" };
    } else if (this.#clock.monotonicMs() >= this.#deadlineMs) {
      this.#end = { reason: StopReason.TIME_LIMIT, stop: "" };
    }
    if (stop === undefined && this.#end !== undefined) this.#shown += this.#text.end();
    if (last === undefined && this.#end !== undefined) this.running?.finishChoice(index);
  }

  step(): void {
    if (!this.#streams) return;
    if (!this.#began) this.#outlet.send(this.#head());
    this.#began = true;
    if (this.#shown !== "" || this.#end !== undefined) this.#outlet.send(this.#part());
  }

  done(): void {
    if (!this.#streams) this.#outlet.send({ ...this.#head(), ...this.#part() });
    this.#outlet.end();
  }

  failed(fault: Fault): void {
    const outlet = this.#outlet;
    if (fault.kind === "crash") outlet.crash();
    else if (fault.kind === "cut") outlet.cut();
    else if (fault.kind === "early_end") this.done();
    else if (fault.kind === "reject") outlet.fail({ code: status.RESOURCE_EXHAUSTED, text: "Model is overloaded" });
    else outlet.fail(unexpected("CUDA error: an illegal memory access was encountered", "RuntimeError"));
  }

  #head(): Response {
    const { echo, seed, tokens, job } = this.#asked;
    return {
      inputTokenCount: this.running?.promptTokens ?? 0,
      ...(echo === "" ? {} : { text: echo }),
      ...(seed === undefined ? {} : { seed }),
      ...(tokens.input ? { inputTokens: piecesOf(job.prompt).map(({ piece }) => ({ text: piece })) } : {}),
    };
  }

  #part(): Response {
    const echo = this.#streams ? "" : this.#asked.echo;
    const part: Response = {
      text: echo + this.#shown,
      generatedTokenCount: this.#count,
      tokens: this.#tokens,
      ...(this.#end ? { stopReason: this.#end.reason, stopSequence: this.#end.stop } : {}),
    };
    this.#shown = "";
    this.#tokens = [];
    return part;
  }

  #infoOf(token: Token): TokenInfo {
    const { logprobs, ranks, top } = this.#asked.detail;
    const { logprob, others } = scoredFrom(token, top, 0);
    return {
      text: pieceOf(token.bytes),
      ...(logprobs ? { logprob } : {}),
      ...(ranks ? { rank: 1 } : {}),
      topTokens: others.map((other) => ({
        text: pieceOf(Buffer.from(other.bytes)),
        ...(logprobs ? { logprob: other.logprob } : {}),
      })),
    };
  }
}
