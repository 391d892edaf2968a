import { FinishReason, type TokenLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { ChoiceOutput } from "../choice-output.ts";
import { isCount } from "../counts.ts";
import { type Failure, protocol } from "../failure.ts";
import type { ChoiceCall } from "../http/choice-calls.ts";
import { isObject, type JsonObject } from "../http/json.ts";
import type { FailedHead } from "../http/status.ts";
import { bytesOfToken, logprobLeast } from "../logprob.ts";
import { StopFilter } from "../stop-filter.ts";
import { failureFromTgi, tgiErrorIn } from "./errors.ts";

const finishReasons: ReadonlyMap<string, FinishReason> = new Map([
  ["length", FinishReason.LENGTH],
  ["eos_token", FinishReason.STOP],
  ["stop_sequence", FinishReason.STOP],
]);

/** The part of a {@link ChoiceCall} that a reader speaks to. */
export type GenerateOutlet = Pick<ChoiceCall, "choice" | "accept" | "event" | "finish" | "count" | "end">;

export interface GenerateReaderOptions {
  readonly stops: readonly string[];
  readonly logprobs: boolean;
  /** Tokens that are no text are told as they are written, except the one that ends the answer. */
  readonly showsSpecial: boolean;
}

/**
 * Reads what continues a prompt: an event a token, of which the last one has the details, or all at once. The text is
 * that of the tokens, because the whole text is empty where the last character is not whole.
 */
export class GenerateReader {
  readonly #outlet: GenerateOutlet;
  readonly #output: ChoiceOutput;
  readonly #filter: StopFilter;
  readonly #logprobs: boolean;
  readonly #showsSpecial: boolean;
  #stopped: string | undefined;

  constructor(outlet: GenerateOutlet, { stops, logprobs, showsSpecial }: GenerateReaderOptions) {
    this.#outlet = outlet;
    this.#output = new ChoiceOutput(outlet, outlet.choice);
    this.#filter = new StopFilter(stops);
    this.#logprobs = logprobs;
    this.#showsSpecial = showsSpecial;
  }

  /** Reads an event, or the whole answer; returns why the generation failed, if it did. */
  read(json: unknown, head: FailedHead): Failure | undefined {
    const error = tgiErrorIn(json);
    if (error) return failureFromTgi(error);
    if (!isObject(json)) return protocol("an answer that is no JSON object");
    return json["token"] === undefined ? this.#whole(json, head) : this.#event(json);
  }

  #event(json: JsonObject): Failure | undefined {
    const { token, top_tokens: tops, details } = json;
    if (!isObject(token) || typeof token["text"] !== "string") return protocol("a token without a text");
    this.#outlet.accept();
    this.#token(token, tops, isObject(details) ? details : undefined);
    if (!isObject(details)) {
      if (this.#stopped === undefined) return undefined;
      // The engine was not told of this stop text, or found it inside a token, and goes on.
      this.#output.finish(FinishReason.STOP, this.#stopped);
      this.#outlet.end(true);
      return undefined;
    }
    return this.#finish(details, details["input_length"]);
  }

  #whole(json: JsonObject, head: FailedHead): Failure | undefined {
    const { details } = json;
    if (!isObject(details)) return protocol("an answer without its details");
    const { tokens, top_tokens: tops } = details;
    if (!Array.isArray(tokens)) return protocol("an answer without its tokens");
    this.#outlet.accept();
    for (const [at, token] of (tokens as unknown[]).entries()) {
      if (!isObject(token) || typeof token["text"] !== "string") return protocol("a token without a text");
      const last = at === tokens.length - 1 ? details : undefined;
      this.#token(token, Array.isArray(tops) ? tops[at] : undefined, last);
    }
    return this.#finish(details, Number(head.field("x-prompt-tokens") ?? Number.NaN));
  }

  /** `details` come with the last one. */
  #token(token: JsonObject, tops: unknown, details: JsonObject | undefined): void {
    if (this.#stopped !== undefined) return;
    this.#output.counted(1);
    if (token["special"] === true && !(this.#showsSpecial && isTold(details))) return;
    const { text, stop } = this.#filter.push(textOf(token));
    this.#stopped = stop;
    this.#output.text(text, this.#logprobs ? [scored(token, tops)] : []);
  }

  #finish(details: JsonObject, promptTokens: unknown): Failure | undefined {
    const { finish_reason: name, generated_tokens: generated } = details;
    const reason = typeof name === "string" ? finishReasons.get(name) : undefined;
    if (reason === undefined) return protocol("an end for no reason that there is");
    if (this.#stopped === undefined) this.#output.text(this.#filter.flush());
    this.#output.finish(this.#stopped === undefined ? reason : FinishReason.STOP, this.#stopped ?? "");
    this.#outlet.count({ promptTokens: countOf(promptTokens), completionTokens: countOf(generated) });
    this.#outlet.end();
    return undefined;
  }
}

/** A model's end of text is no part of its answer; as the last token that was allowed, it is reported as the length. */
function isTold(details: JsonObject | undefined): boolean {
  return details === undefined || details["finish_reason"] === "stop_sequence";
}

function textOf(token: JsonObject): string {
  return typeof token["text"] === "string" ? token["text"] : "";
}

function countOf(value: unknown): number | undefined {
  return typeof value === "number" && isCount(value) ? value : undefined;
}

function scored(token: JsonObject, tops: unknown): TokenLogprob {
  return {
    $typeName: "weir.router.v1.TokenLogprob",
    ...partOf(token),
    top: Array.isArray(tops)
      ? tops.filter(isObject).map((top) => ({ $typeName: "weir.router.v1.TopLogprob" as const, ...partOf(top) }))
      : [],
    unscored: false,
  };
}

function partOf(raw: JsonObject): { token: string; logprob: number; bytes: Uint8Array<ArrayBuffer> } {
  const token = textOf(raw);
  const { logprob } = raw;
  return {
    token,
    logprob: typeof logprob === "number" ? logprob : logprobLeast,
    bytes: bytesOfToken(token),
  };
}
