import type { ServerResponse } from "node:http";
import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { Engine, JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import { type Scored, scoredFrom, scoredPrompt } from "../scored.ts";
import type { Token } from "../text.ts";
import { failureFrom } from "./failure.ts";
import type { Manners } from "./manners.ts";
import type { Asked } from "./request.ts";
import { type Shape, shapeOf } from "./shapes.ts";

interface Choice {
  readonly text: ChoiceText;
  /** What was shown and not sent: all of it, for an answer in one piece. */
  shown: string;
  readonly scored: Scored[];
  /** Characters of its tokens so far. */
  characters: number;
  opened: boolean;
  finish: string | null;
  stop: string | null;
}

/** An engine does not wait for a slow reader. One that leaves this much behind has gone, or never reads. */
const pendingBytesMax = 16 * 1_048_576;

/** Runs a request on the engine and answers it, streaming or in one piece. Returns what ends it early. */
export function answer(
  engine: Engine,
  asked: Asked,
  createdS: number,
  response: ServerResponse,
  manners: Manners,
  crash: () => void,
): Running {
  const out = new Answer(asked, createdS, response, manners, crash);
  const running = engine.run(asked.job, out);
  out.accept(running);
  return running;
}

/**
 * Answers as vLLM and its kin do: the status of a stream goes out as soon as the request is queued, the roles of all choices with
 * the first token, and an error after that as an event before `[DONE]`.
 */
class Answer implements JobSink {
  #running: Running | undefined;
  readonly #asked: Asked;
  readonly #shape: Shape;
  readonly #createdS: number;
  readonly #response: ServerResponse;
  readonly #manners: Manners;
  readonly #crash: () => void;
  readonly #choices: Choice[];
  #tokens = 0;

  constructor(asked: Asked, createdS: number, response: ServerResponse, manners: Manners, crash: () => void) {
    this.#asked = asked;
    this.#shape = shapeOf(asked);
    this.#createdS = createdS;
    this.#response = response;
    this.#manners = manners;
    this.#crash = crash;
    const echoed = asked.echo ? asked.job.prompt : "";
    this.#choices = Array.from({ length: asked.job.choices }, () => ({
      text: createChoiceText(asked.stops),
      shown: echoed,
      scored: asked.logprobs ? scoredPrompt(echoed, asked.topLogprobs) : [],
      characters: echoed.length,
      opened: false,
      finish: null,
      stop: null,
    }));
  }

  /** The engine has taken the request, or refused it already. */
  accept(running: Running): void {
    this.#running = running;
    if (!this.#asked.stream || this.#response.headersSent) return;
    this.#response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.#response.flushHeaders();
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    const choice = this.#choices[index];
    if (choice === undefined || choice.finish !== null) return;
    this.#tokens++;
    if (this.#asked.onlyEcho) {
      choice.finish = "length";
      if (this.#asked.stream) this.#stream(index, choice);
      return;
    }
    const { text, stop } = choice.text.push(token.bytes);
    choice.shown += text;
    if (this.#asked.logprobs) choice.scored.push(scoredFrom(token, this.#asked.topLogprobs, choice.characters));
    choice.characters += token.bytes.toString("utf8").length;
    if (stop !== undefined) {
      choice.stop = stop;
      this.#running?.finishChoice(index);
    } else if (last !== undefined) choice.shown += choice.text.end();
    const ended = stop === undefined ? last : "stop";
    if (ended !== undefined) choice.finish = ended === "stop" && this.#asked.call !== undefined ? "tool_calls" : ended;
    if (this.#asked.stream) this.#stream(index, choice);
  }

  step(): void {
    if (this.#response.writableLength > pendingBytesMax) this.#response.destroy();
  }

  done(): void {
    if (!this.#asked.stream) return this.#whole();
    if (this.#asked.includeUsage) this.#event([], this.#usage());
    this.#response.end("data: [DONE]\n\n");
  }

  failed(fault: Fault): void {
    const response = this.#response;
    if (fault.kind === "crash") return this.#crash();
    if (fault.kind === "cut") return void response.socket?.resetAndDestroy();
    if (fault.kind === "early_end") return this.#asked.stream ? void response.end() : this.#whole();
    const failure = failureFrom(fault);
    const body = JSON.stringify(this.#manners.errorBody(failure));
    if (response.headersSent && !this.#manners.saysFailures) return void response.destroy();
    if (response.headersSent) return void response.end(`data: ${body}\n\ndata: [DONE]\n\n`);
    response.writeHead(failure.status, { "content-type": "application/json" });
    response.end(body);
  }

  #stream(index: number, choice: Choice): void {
    if (!choice.opened) {
      // The first token of any choice opens all.
      for (const [each, other] of this.#choices.entries()) {
        other.opened = true;
        for (const opening of this.#shape.opening(each)) this.#chunk(opening, 0);
      }
    }
    this.#chunk(this.#shape.chunk(index, this.#pieceOf(choice)));
    choice.shown = "";
    choice.scored.length = 0;
  }

  #chunk(choice: object, tokens = this.#tokens): void {
    const { includeUsage, continuousUsage } = this.#asked;
    if (continuousUsage) this.#event([choice], this.#usage(tokens));
    else this.#event([choice], includeUsage ? null : undefined);
  }

  #event(choices: readonly object[], usage: object | null | undefined): void {
    const chunk = { ...this.#head(this.#shape.chunkObject), choices, ...(usage === undefined ? {} : { usage }) };
    this.#response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  }

  #whole(): void {
    const choices = this.#choices.map((choice, index) => this.#shape.whole(index, this.#pieceOf(choice)));
    const body = JSON.stringify({ ...this.#head(this.#shape.object), choices, usage: this.#usage() });
    this.#response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    this.#response.end(body);
  }

  #pieceOf({ shown, scored, finish, stop }: Choice): Parameters<Shape["chunk"]>[1] {
    return { text: shown, scored: this.#asked.logprobs ? [...scored] : undefined, finish, stop };
  }

  #head(object: string): object {
    const { id, model } = this.#asked.job;
    return { id: `${this.#shape.idPrefix}-${id}`, object, created: this.#createdS, model };
  }

  #usage(tokens = this.#tokens): object {
    const prompt_tokens = this.#running?.promptTokens ?? 0;
    const cached_tokens = this.#running?.cachedTokens ?? 0;
    return {
      prompt_tokens,
      completion_tokens: tokens,
      total_tokens: prompt_tokens + tokens,
      prompt_tokens_details: cached_tokens > 0 ? { cached_tokens } : null,
    };
  }
}
