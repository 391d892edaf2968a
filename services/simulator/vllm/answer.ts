import type { MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import {
  FinishInfo_FinishReason as FinishReason,
  type FinishInfoSchema,
  type GenerateResponseSchema,
  type SequenceOutputSchema,
} from "../../../gen/ts/engine/vllm/inference_pb.ts";
import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Outlet } from "../grpc/outlet.ts";
import { scoredFrom } from "../scored.ts";
import type { Token } from "../text.ts";
import type { Asked } from "./request.ts";

// The forms without a type's name: literals.
export type Response = Extract<MessageInitShape<typeof GenerateResponseSchema>, { $typeName?: never }>;
type Output = Extract<MessageInitShape<typeof SequenceOutputSchema>, { $typeName?: never }>;
type Finish = Pick<MessageInitShape<typeof FinishInfoSchema>, "finishReason" | "stopReason">;

/**
 * Answers as vLLM's Rust front end does: a stream begins with the prompt's count alone, then a message for each token,
 * also where its text is held back; the last one says why. Otherwise all is one message.
 */
export class VllmAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #streams: boolean;
  readonly #outlet: Outlet<Response>;
  readonly #text: ChoiceText;
  #shown = "";
  #tokens: Token[] = [];
  #count = 0;
  #began = false;
  #finish: Finish | undefined;

  constructor(asked: Asked, streams: boolean, outlet: Outlet<Response>) {
    this.#asked = asked;
    this.#streams = streams;
    this.#outlet = outlet;
    this.#text = createChoiceText(asked.stops);
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    if (this.#finish !== undefined) return;
    this.#count += 1;
    this.#tokens.push(token);
    // The text of a stop token is left out.
    if (this.#asked.stopTokenIds.has(token.id)) {
      this.#end({ finishReason: FinishReason.STOP, stopReason: { case: "stopTokenId", value: token.id } });
    } else {
      const { text, stop } = this.#text.push(token.bytes);
      this.#shown += text;
      if (stop !== undefined) this.#stopped(stop);
      else if (last === "length") this.#end({ finishReason: FinishReason.LENGTH });
      else if (last === "stop")
        this.#end({ finishReason: FinishReason.STOP, stopReason: { case: "eosTokenId", value: token.id } });
    }
    if (last === undefined && this.#finish !== undefined) this.running?.finishChoice(index);
  }

  step(): void {
    if (!this.#streams) return;
    this.#begin();
    this.#outlet.send({ outputs: this.#part() });
  }

  done(): void {
    if (!this.#streams) this.#outlet.send({ promptInfo: this.#promptInfo(), outputs: this.#part() });
    this.#outlet.end();
  }

  /** Somebody said abort: what there was is all, and the call ends well. */
  aborted(): void {
    this.#finish = { finishReason: FinishReason.ABORTED };
    this.#begin();
    this.#outlet.send({ outputs: this.#part() });
    this.#outlet.end();
  }

  failed(fault: Fault): void {
    const outlet = this.#outlet;
    if (fault.kind === "crash") outlet.crash();
    else if (fault.kind === "cut") outlet.cut();
    else if (fault.kind === "early_end") this.done();
    else if (fault.kind === "reject") outlet.fail({ code: status.RESOURCE_EXHAUSTED, text: "the queue is full" });
    else outlet.fail({ code: status.INTERNAL, text: "engine failed during generation" });
  }

  #stopped(stop: string): void {
    if (this.#asked.includesStop) this.#shown += stop;
    this.#finish = { finishReason: FinishReason.STOP, stopReason: { case: "stopString", value: stop } };
  }

  #end(finish: Finish): void {
    this.#shown += this.#text.end();
    this.#finish = finish;
  }

  #begin(): void {
    if (!this.#began && this.#streams) this.#outlet.send({ promptInfo: this.#promptInfo() });
    this.#began = true;
  }

  #promptInfo() {
    return { numPromptTokens: this.running?.promptTokens ?? 0, tokenIds: [...this.#asked.returns.promptIds] };
  }

  #part(): Output {
    const { text, ids, candidates } = this.#asked.returns;
    const scored = candidates === undefined ? [] : this.#tokens.map((token) => scoredFrom(token, candidates, 0));
    const part: Output = {
      text: text ? this.#shown : "",
      numTokens: this.#tokens.length,
      tokenIds: ids ? this.#tokens.map(({ id }) => id) : [],
      logprobs: scored.map(({ logprob }) => logprob),
      ranks: scored.map(() => 1),
      candidateTokens: scored.map(({ others }) => ({
        tokens: others.map(({ logprob }, rank) => ({ id: rank, logprob, rank: rank + 1 })),
      })),
      ...(this.#finish ? { finishInfo: { numOutputTokens: this.#count, ...this.#finish } } : {}),
    };
    this.#shown = "";
    this.#tokens = [];
    return part;
  }
}
