import type { ServerResponse } from "node:http";
import { type ChoiceText, createChoiceText } from "../choice-text.ts";
import type { Engine, JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import type { Token } from "../text.ts";
import type { Asked } from "./request.ts";

interface Choice {
  readonly text: ChoiceText;
  /** All that was shown, for an answer in one piece. */
  shown: string;
  finish: string | undefined;
  logprobs: object[];
  opened: boolean;
}

/** Runs a request on the engine and answers it, streaming or in one piece. Returns what ends it early. */
export function answer(
  engine: Engine,
  asked: Asked,
  createdS: number,
  response: ServerResponse,
  crash: () => void,
): Running {
  const out = new Answer(asked, createdS, response, crash);
  const running = engine.run(asked.job, out);
  out.running = running;
  return running;
}

class Answer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #createdS: number;
  readonly #response: ServerResponse;
  readonly #crash: () => void;
  readonly #choices: Choice[];
  #tokens = 0;

  constructor(asked: Asked, createdS: number, response: ServerResponse, crash: () => void) {
    this.#asked = asked;
    this.#createdS = createdS;
    this.#response = response;
    this.#crash = crash;
    this.#choices = Array.from({ length: asked.job.choices }, () => ({
      text: createChoiceText(asked.stops),
      shown: asked.echo ? asked.job.prompt : "",
      finish: undefined,
      logprobs: [],
      opened: false,
    }));
  }

  started(): void {
    if (!this.#asked.stream) return;
    this.#response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.#response.flushHeaders();
  }

  token(index: number, token: Token, last: "stop" | "length" | undefined): void {
    const choice = this.#choices[index];
    if (choice === undefined || choice.finish !== undefined) return;
    this.#tokens++;
    const { text, stop } = choice.text.push(token.bytes);
    let shown = text;
    if (stop !== undefined) this.running?.finishChoice(index);
    else if (last !== undefined) shown += choice.text.end();
    const ended = stop !== undefined ? "stop" : last;
    choice.finish = ended === "stop" && this.#asked.call !== undefined ? "tool_calls" : ended;
    choice.shown += shown;
    if (this.#asked.logprobs) choice.logprobs.push(logprobOf(token, this.#asked.topLogprobs));
    if (this.#asked.stream)
      this.#stream(index, choice, shown, this.#asked.logprobs ? choice.logprobs.slice(-1) : undefined);
  }

  done(): void {
    const { asked, response } = { asked: this.#asked, response: this.#response };
    if (!asked.stream) {
      this.#whole();
      return;
    }
    if (asked.includeUsage) this.#event({ choices: [], usage: this.#usage() });
    response.end("data: [DONE]\n\n");
  }

  failed(fault: Fault): void {
    const response = this.#response;
    if (fault.kind === "crash") return this.#crash();
    if (fault.kind === "cut") return void response.socket?.resetAndDestroy();
    if (fault.kind === "early_end") return void response.end();
    const body = {
      error: {
        message: "CUDA error: an illegal memory access was encountered",
        type: "InternalServerError",
        param: null,
        code: 500,
      },
    };
    if (response.headersSent) response.end(`data: ${JSON.stringify(body)}\n\n`);
    else {
      response.writeHead(fault.kind === "reject" ? 503 : 500, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    }
  }

  #event(members: object): void {
    this.#response.write(`data: ${JSON.stringify({ ...this.#head(true), ...members })}\n\n`);
  }

  #head(chunk: boolean): object {
    const chat = this.#asked.kind === "chat";
    return {
      id: `${chat ? "chatcmpl" : "cmpl"}-${this.#asked.job.id}`,
      object: chat ? (chunk ? "chat.completion.chunk" : "chat.completion") : "text_completion",
      created: this.#createdS,
      model: this.#asked.job.model,
    };
  }

  #stream(index: number, choice: Choice, shown: string, logprobs: object[] | undefined): void {
    const { call, kind } = this.#asked;
    const finish_reason = choice.finish ?? null;
    if (kind === "completion") {
      const text = choice.opened ? shown : choice.shown;
      choice.opened = true;
      this.#event({ choices: [{ index, text, logprobs: null, finish_reason }] });
      return;
    }
    if (!choice.opened) {
      choice.opened = true;
      this.#event({
        choices: [{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null }],
      });
      if (call !== undefined)
        this.#event({
          choices: [{ index, delta: { tool_calls: [this.#callHead(index, call)] }, finish_reason: null }],
        });
    }
    const delta =
      call === undefined ? { content: shown } : { tool_calls: [{ index: 0, function: { arguments: shown } }] };
    this.#event({ choices: [{ index, delta, logprobs: logprobs ? { content: logprobs } : null, finish_reason }] });
  }

  #callHead(index: number, name: string): object {
    return { index: 0, id: `call_${this.#asked.job.id}_${index}`, type: "function", function: { name, arguments: "" } };
  }

  #whole(): void {
    const { call, kind } = this.#asked;
    const choices = this.#choices.map((choice, index) => {
      if (kind === "completion") return { index, text: choice.shown, logprobs: null, finish_reason: choice.finish };
      const tool_calls = call && [
        {
          id: `call_${this.#asked.job.id}_${index}`,
          type: "function",
          function: { name: call, arguments: choice.shown },
        },
      ];
      const message = {
        role: "assistant",
        content: call === undefined ? choice.shown : null,
        ...(tool_calls ? { tool_calls } : {}),
      };
      const logprobs = this.#asked.logprobs ? { content: choice.logprobs } : null;
      return { index, message, logprobs, finish_reason: choice.finish };
    });
    const body = JSON.stringify({ ...this.#head(false), choices, usage: this.#usage() });
    this.#response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    this.#response.end(body);
  }

  #usage(): object {
    const prompt_tokens = this.running?.promptTokens ?? 0;
    return { prompt_tokens, completion_tokens: this.#tokens, total_tokens: prompt_tokens + this.#tokens };
  }
}

/** Likelihoods that follow from the token: nobody computes them here, but their form is the engine's. */
function logprobOf(token: Token, top: number): object {
  const entry = (rank: number) => ({
    token: token.bytes.toString("utf8"),
    logprob: -0.25 * (rank + 1) - (token.id % 7) / 100,
    bytes: [...token.bytes],
  });
  return { ...entry(0), top_logprobs: Array.from({ length: top }, (_, rank) => entry(rank)) };
}
