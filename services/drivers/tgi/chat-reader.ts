import { CountSource, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { isCount } from "../counts.ts";
import { type Counts, delta, deltaEvent } from "../events.ts";
import type { Failure } from "../failure.ts";
import type { ChoiceCall } from "../http/choice-calls.ts";
import { isObject } from "../http/json.ts";
import type { FailedHead } from "../http/status.ts";
import { ChunkReader, type Outlet } from "../openai/chunk.ts";
import { StopFilter } from "../stop-filter.ts";
import { failureFromTgi, tgiErrorIn } from "./errors.ts";

/**
 * Reads a chat, in chunks or whole: OpenAI's, with errors of TGI's own, in which the stop text is left in, every function
 * call has the same id, and a call ends as text does, or for no reason: after its last brace a stream has the usage only.
 */
export class ChatReader {
  readonly #outlet: ChatOutlet;
  readonly #chunks: ChunkReader;

  /** `id` is the attempt's. */
  constructor(call: ChoiceCall, stops: readonly string[], id: string) {
    this.#outlet = new ChatOutlet(call, stops, id);
    this.#chunks = new ChunkReader(this.#outlet, { usageCountsChoices: true, usageIsOfChunk: false });
  }

  /** Reads a chunk; returns why the generation failed, if it did. */
  read(json: unknown, head: FailedHead): Failure | undefined {
    const error = tgiErrorIn(json);
    if (error) return failureFromTgi(error);
    const failure = this.#chunks.read(json);
    if (failure) return failure;
    this.#outlet.counted(Number(head.field("x-prompt-tokens") ?? Number.NaN));
    if (isObject(json) && isObject(json["usage"])) this.done();
    this.#outlet.read();
    return undefined;
  }

  /** The engine is done. */
  done(): void {
    this.#outlet.done();
  }
}

/** Where the chunks of one call go. */
class ChatOutlet implements Outlet {
  readonly choices = 1;
  readonly #call: ChoiceCall;
  readonly #id: string;
  readonly #filter: StopFilter;
  #engineFinished = false;
  #calls = false;

  constructor(call: ChoiceCall, stops: readonly string[], id: string) {
    this.#call = call;
    this.#filter = new StopFilter(stops);
    this.#id = id;
  }

  has(choice: number): boolean {
    return choice === 0;
  }

  isFinished(): boolean {
    return this.#call.complete;
  }

  accept(): void {
    this.#call.accept();
  }

  event(message: GenerateResponse): void {
    if (message.event.case !== "delta" || this.#call.complete) return;
    const told = message.event.value;
    told.choice = this.#call.choice;
    const { fragment } = told;
    this.#calls ||= fragment.case === "toolCall";
    if (fragment.case === "toolCall") {
      const { name, index } = fragment.value;
      fragment.value.id = name === "" ? "" : `call_${this.#id}_${told.choice}_${index}`;
    }
    if (fragment.case !== "text") return this.#call.event(message);
    const { text, stop } = this.#filter.push(fragment.value);
    fragment.value = text;
    if (text !== "" || told.tokens > 0) this.#call.event(message);
    if (stop !== undefined) this.#call.finish(0, FinishReason.STOP, stop);
  }

  finish(_choice: number, reason: FinishReason, stop: string): void {
    this.#engineFinished = true;
    if (this.#call.complete) return;
    const rest = this.#filter.flush();
    if (rest !== "") this.#call.event(deltaEvent(delta(this.#call.choice, { case: "text", value: rest }, 0)));
    this.#call.finish(0, this.#calls && reason === FinishReason.STOP ? FinishReason.TOOL_CALLS : reason, stop);
  }

  /** A prompt of no tokens is one that was not counted. */
  count({ promptTokens, completionTokens, completionSource }: Counts): void {
    this.#call.count({
      promptTokens: promptTokens || undefined,
      completionTokens: completionSource === CountSource.ENGINE ? completionTokens : undefined,
    });
  }

  /** The prompt's tokens, as the head of a whole answer has them; NaN: it has none. */
  counted(promptTokens: number): void {
    if (isCount(promptTokens)) this.#call.count({ ...this.#call.counts, promptTokens });
  }

  /** What has called a function so far has ended with that. */
  done(): void {
    if (this.#calls) this.finish(0, FinishReason.TOOL_CALLS, "");
  }

  /** A chunk has been read: an engine that does not know of the stop text in it goes on. */
  read(): void {
    if (this.#call.complete && !this.#engineFinished) this.#call.end(true);
  }
}
