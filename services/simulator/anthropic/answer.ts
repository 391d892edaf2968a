import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { HttpCall } from "../http/server.ts";
import { parsedMembers } from "../json.ts";
import type { Token } from "../text.ts";
import { type AnthropicFailure, failureBody, internal, overloaded } from "./failure.ts";
import type { Asked } from "./request.ts";

/** An engine does not wait for a slow reader. One that leaves this much behind has gone, or never reads. */
const pendingBytesMax = 16 * 1_048_576;

/** How many tokens of its answer it thinks, where it does. */
const thoughtTokens = 4;

const stopReasons = { stop: "end_turn", length: "max_tokens" } as const;

/**
 * Answers as Anthropic's Messages API does: the status goes out with the first token, then a message without content, a ping, a
 * block of thought, a block of text or of a call's arguments, and its end. The prompt's count is without what the cache had.
 */
export class AnthropicAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #call: HttpCall;
  readonly #crash: () => void;
  readonly #text: ChoiceText;
  readonly #thoughts = createChoiceText([]);
  #thought = "";
  #said = "";
  #fresh = "";
  #block: "none" | "thinking" | "content" = "none";
  #index = 0;
  #tokens = 0;
  #reason: string | null = null;
  #stop: string | null = null;

  constructor(asked: Asked, call: HttpCall, crash: () => void) {
    this.#asked = asked;
    this.#call = call;
    this.#crash = crash;
    this.#text = createChoiceText(asked.stops);
  }

  token(_choice: number, token: Token, last: "stop" | "length" | undefined): void {
    if (this.#reason !== null) return;
    this.#tokens += 1;
    if (this.#asked.thinks && this.#tokens <= thoughtTokens) this.#think(token.bytes);
    else this.#say(token.bytes);
    if (this.#stop !== null) {
      this.#reason = "stop_sequence";
      if (last === undefined) this.running?.finishChoice(0);
    } else if (last !== undefined) {
      this.#fresh += this.#text.end();
      this.#reason = last === "stop" && this.#asked.call !== undefined ? "tool_use" : stopReasons[last];
    }
  }

  step(): void {
    if (!this.#asked.stream) return;
    this.#begin();
    if (this.#block === "thinking" && this.#thought !== "") {
      this.#delta({ type: "thinking_delta", thinking: this.#thought });
      this.#thought = "";
    }
    if (this.#fresh !== "") {
      this.#open("content");
      this.#delta(
        this.#asked.call === undefined
          ? { type: "text_delta", text: this.#fresh }
          : { type: "input_json_delta", partial_json: this.#fresh },
      );
      this.#fresh = "";
    }
    if (this.#call.response.writableLength > pendingBytesMax) this.#call.response.destroy();
  }

  done(): void {
    if (!this.#asked.stream) return this.#whole();
    this.#close();
    this.#event("message_delta", {
      delta: { stop_reason: this.#reason, stop_sequence: this.#stop },
      usage: { output_tokens: this.#tokens },
    });
    this.#event("message_stop", {});
    this.#call.response.end();
  }

  failed(fault: Fault): void {
    if (fault.kind === "crash") this.#crash();
    else if (fault.kind === "cut") this.#call.response.socket?.resetAndDestroy();
    else if (fault.kind === "early_end" && this.#asked.stream) this.#call.response.end();
    else if (fault.kind === "early_end") this.#whole();
    else this.#fail(fault.kind === "reject" ? overloaded : internal);
  }

  #think(bytes: Buffer): void {
    this.#thought += this.#thoughts.push(bytes).text;
    if (this.#asked.stream) {
      this.#begin();
      this.#open("thinking");
    }
  }

  #say(bytes: Buffer): void {
    const { text, stop } = this.#text.push(bytes);
    this.#said += text;
    this.#fresh += text;
    if (stop !== undefined) this.#stop = stop;
  }

  #begin(): void {
    const { response } = this.#call;
    if (response.headersSent) return;
    response.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "request-id": `req_${this.#call.id}`,
    });
    this.#event("message_start", { message: this.#message([], null) });
    this.#event("ping", {});
  }

  /** Begins a block of a kind, unless it has begun. */
  #open(kind: "thinking" | "content"): void {
    if (this.#block === kind) return;
    this.#close();
    this.#block = kind;
    const { call } = this.#asked;
    const content =
      call === undefined ? { type: "text", text: "" } : { type: "tool_use", id: this.#callId, name: call, input: {} };
    const block = kind === "thinking" ? { type: "thinking", thinking: "", signature: "" } : content;
    this.#event("content_block_start", { index: this.#index, content_block: block });
  }

  #close(): void {
    if (this.#block === "none") return;
    if (this.#block === "thinking") this.#delta({ type: "signature_delta", signature: "c2ln" });
    this.#event("content_block_stop", { index: this.#index });
    this.#index += 1;
    this.#block = "none";
  }

  #delta(delta: object): void {
    this.#event("content_block_delta", { index: this.#index, delta });
  }

  #event(type: string, members: object): void {
    this.#call.response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...members })}\n\n`);
  }

  #whole(): void {
    const { call, thinks } = this.#asked;
    const said =
      call === undefined
        ? { type: "text", text: this.#said + this.#text.end() }
        : {
            type: "tool_use",
            id: this.#callId,
            name: call,
            input: Object.fromEntries(parsedMembers(this.#said) ?? []),
          };
    const thought = thinks ? [{ type: "thinking", thinking: this.#thought, signature: "c2ln" }] : [];
    this.#call.send(200, this.#message([...thought, said], this.#reason), { "request-id": `req_${this.#call.id}` });
  }

  #fail(failure: AnthropicFailure): void {
    const body = failureBody(failure, this.#call.id);
    if (!this.#call.response.headersSent) return this.#call.send(failure.status, body);
    this.#event("error", body);
    this.#call.response.end();
  }

  get #callId(): string {
    return `toolu_${this.#call.id.replace(/[^A-Za-z0-9_-]/g, "_")}`;
  }

  #message(content: readonly object[], reason: string | null): object {
    const { promptTokens = 0, cachedTokens = 0 } = this.running ?? {};
    return {
      id: `msg_${this.#call.id}`,
      type: "message",
      role: "assistant",
      model: this.#asked.job.model,
      content,
      stop_reason: reason,
      stop_sequence: this.#stop,
      usage: {
        input_tokens: promptTokens - cachedTokens,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: cachedTokens,
        // At its beginning a stand-in.
        output_tokens: Math.max(1, reason === null ? 1 : this.#tokens),
        service_tier: "standard",
      },
    };
  }
}
