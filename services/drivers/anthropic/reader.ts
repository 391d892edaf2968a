import { type Delta, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { delta, deltaEvent, toolCallDelta } from "../events.ts";
import { type Failure, protocol } from "../failure.ts";
import type { ChoiceCall } from "../http/choice-calls.ts";
import { isObject, type JsonObject } from "../http/json.ts";
import { StopFilter } from "../stop-filter.ts";
import { anthropicErrorIn, failureFromAnthropic } from "./errors.ts";
import { MessageUsage } from "./usage.ts";

const finishReasons: ReadonlyMap<string, FinishReason> = new Map([
  ["end_turn", FinishReason.STOP],
  ["stop_sequence", FinishReason.STOP],
  ["pause_turn", FinishReason.STOP],
  ["max_tokens", FinishReason.LENGTH],
  ["model_context_window_exceeded", FinishReason.LENGTH],
  ["tool_use", FinishReason.TOOL_CALLS],
  ["refusal", FinishReason.CONTENT_FILTER],
]);

/** More blocks than any answer has. */
const blocksMax = 4_096;

/** The part of a {@link ChoiceCall} that a reader speaks to. */
export type MessageOutlet = Pick<ChoiceCall, "choice" | "accept" | "event" | "finish" | "count" | "end">;

/** A block of content that has begun. */
interface Block {
  readonly type: string;
  /** Of a function call: its place among the calls. */
  readonly call: number;
  /** Of a function call: what it is given at once; arguments in pieces follow otherwise. */
  readonly input: JsonObject;
  /** Whether any of its arguments was told. */
  told: boolean;
  open: boolean;
}

/**
 * Reads a message: whole, or as events. *message_start* tells that it is taken; then come blocks, one after the other or
 * not, each with a start, deltas and a stop; *message_delta* tells why it ended, and *message_stop* that it did. Events
 * that are not known are passed over.
 */
export class MessageReader {
  readonly #outlet: MessageOutlet;
  readonly #filter: StopFilter;
  readonly #usage = new MessageUsage();
  readonly #blocks: Block[] = [];
  #calls = 0;
  #stopped = false;
  #started = false;
  #finished = false;

  /** `stops` are those that the API was not told of. */
  constructor(outlet: MessageOutlet, stops: readonly string[]) {
    this.#outlet = outlet;
    this.#filter = new StopFilter(stops);
  }

  /** Reads an event, or a whole message; returns why the generation failed, if it did. */
  read(json: unknown): Failure | undefined {
    const error = anthropicErrorIn(json);
    if (error) return failureFromAnthropic(0, error);
    if (!isObject(json)) return protocol("an answer that is no JSON object");
    switch (json["type"]) {
      case "message":
        return this.#whole(json);
      case "message_start":
        return this.#start(json["message"]);
      case "content_block_start":
        return this.#blockStart(json["index"], json["content_block"]);
      case "content_block_delta":
        return this.#blockDelta(json["index"], json["delta"]);
      case "content_block_stop":
        return this.#blockStop(json["index"]);
      case "message_delta":
        return this.#delta(json);
      case "message_stop":
        return this.#stop();
      default:
        return typeof json["type"] === "string" ? undefined : protocol("an event without a type");
    }
  }

  #whole(json: JsonObject): Failure | undefined {
    const { content, stop_reason: reason, stop_sequence: stop, usage } = json;
    if (!Array.isArray(content)) return protocol("a message without content");
    const failure = this.#start(json);
    if (failure) return failure;
    for (const [index, block] of (content as unknown[]).entries()) {
      const wrong = this.#blockStart(index, block) ?? this.#blockStop(index);
      if (wrong) return wrong;
    }
    this.#usage.read(usage, true);
    return this.#finish(reason, stop) ?? this.#stop();
  }

  #start(message: unknown): Failure | undefined {
    if (!isObject(message) || this.#started) return protocol("a beginning that is none");
    this.#started = true;
    this.#usage.read(message["usage"], false);
    this.#outlet.accept();
    return undefined;
  }

  #blockStart(index: unknown, raw: unknown): Failure | undefined {
    if (!this.#started || typeof index !== "number" || index !== this.#blocks.length || index >= blocksMax)
      return protocol("a block out of its order");
    if (!isObject(raw) || typeof raw["type"] !== "string") return protocol("a block without a type");
    const { type, id, name, input } = raw;
    const block = { type, call: this.#calls, input: isObject(input) ? input : {}, told: false, open: true };
    this.#blocks.push(block);
    if (type === "text" && typeof raw["text"] === "string") this.#text(raw["text"]);
    if (type === "thinking" && typeof raw["thinking"] === "string") this.#thought(raw["thinking"]);
    if (type !== "tool_use") return undefined;
    if (typeof id !== "string" || typeof name !== "string" || name === "") return protocol("a call without a name");
    this.#calls += 1;
    this.#call(block.call, { id, name, arguments: "" });
    return undefined;
  }

  #blockDelta(index: unknown, raw: unknown): Failure | undefined {
    const block = typeof index === "number" ? this.#blocks[index] : undefined;
    if (!block?.open) return protocol("a delta of no block");
    if (!isObject(raw)) return protocol("a delta that is none");
    const { text, thinking, partial_json: json } = raw;
    switch (raw["type"]) {
      case "text_delta":
        if (typeof text !== "string") return protocol("a text that is none");
        this.#text(text);
        return undefined;
      case "thinking_delta":
        if (typeof thinking !== "string") return protocol("a thought that is none");
        this.#thought(thinking);
        return undefined;
      case "input_json_delta":
        if (typeof json !== "string") return protocol("arguments that are none");
        if (block.type === "tool_use" && json !== "") this.#arguments(block, json);
        return undefined;
      default:
        // Signatures and citations have no place in our events.
        return undefined;
    }
  }

  #blockStop(index: unknown): Failure | undefined {
    const block = typeof index === "number" ? this.#blocks[index] : undefined;
    if (!block?.open) return protocol("the end of no block");
    block.open = false;
    // Callers parse arguments: those of a function without any are an empty object.
    if (block.type === "tool_use" && !block.told) this.#arguments(block, JSON.stringify(block.input));
    return undefined;
  }

  #delta(json: JsonObject): Failure | undefined {
    const { delta: ending, usage } = json;
    if (!isObject(ending)) return protocol("an end that is none");
    this.#usage.read(usage, true);
    return this.#finish(ending["stop_reason"], ending["stop_sequence"]);
  }

  #finish(reason: unknown, stop: unknown): Failure | undefined {
    if (reason === null || reason === undefined) return undefined;
    const known = typeof reason === "string" ? finishReasons.get(reason) : undefined;
    if (known === undefined) return protocol("an end for no reason that there is");
    if (!this.#started) return protocol("an end without a beginning");
    if (this.#finished) return undefined;
    this.#finished = true;
    const rest = this.#stopped ? "" : this.#filter.flush();
    if (rest !== "") this.#tell({ case: "text", value: rest });
    // What the engine counted is known from here on, also if its last event is lost.
    this.#outlet.count(this.#usage.counts());
    this.#outlet.finish(this.#outlet.choice, known, typeof stop === "string" ? stop : "");
    return undefined;
  }

  #stop(): undefined {
    this.#outlet.count(this.#usage.counts());
    this.#outlet.end();
  }

  #text(text: string): void {
    if (this.#stopped) return;
    const { text: shown, stop } = this.#filter.push(text);
    if (shown !== "") this.#tell({ case: "text", value: shown });
    if (stop === undefined) return;
    // The engine knows nothing of this stop text, and goes on.
    this.#stopped = true;
    this.#finished = true;
    this.#outlet.count({ ...this.#usage.counts(), completionTokens: undefined });
    this.#outlet.finish(this.#outlet.choice, FinishReason.STOP, stop);
    this.#outlet.end(true);
  }

  #thought(thought: string): void {
    if (thought !== "") this.#tell({ case: "reasoning", value: thought });
  }

  #arguments(block: Block, json: string): void {
    block.told = true;
    this.#call(block.call, { id: "", name: "", arguments: json });
  }

  #call(index: number, fragment: { id: string; name: string; arguments: string }): void {
    if (!this.#stopped) this.#outlet.event(toolCallDelta(this.#outlet.choice, { index, ...fragment }, 0));
  }

  #tell(fragment: Delta["fragment"]): void {
    if (!this.#stopped) this.#outlet.event(deltaEvent(delta(this.#outlet.choice, fragment, 0)));
  }
}
