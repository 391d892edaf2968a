import type { ServerResponse } from "node:http";
import { StringDecoder } from "node:string_decoder";
import type { JobSink, Running } from "../engine.ts";
import type { Fault } from "../fault.ts";
import { scoredFrom } from "../scored.ts";
import type { Token } from "../text.ts";
import { failedGeneration, incomplete, overloaded, type TgiFailure } from "./errors.ts";
import type { Asked } from "./request.ts";
import type { ErrorShape, Finish, Piece, Shape } from "./shapes.ts";

/** An engine does not wait for a slow reader. One that leaves this much behind has gone, or never reads. */
const pendingBytesMax = 16 * 1_048_576;

/** The model's end-of-text token. */
const eos: Token = { id: 2, bytes: Buffer.from("</s>") };

/**
 * Answers as TGI does: the status of a stream goes out at once, so that all errors are events; an event a token, empty
 * where a character is not whole; the stop text is left in, and found only where it ends with a token; the token that
 * ends a text is one more, and special. Special tokens come with their text, and are left out of the whole one.
 */
export class TgiAnswer implements JobSink {
  running: Running | undefined;
  readonly #asked: Asked;
  readonly #streams: boolean;
  readonly #shape: Shape;
  readonly #response: ServerResponse;
  readonly #crash: () => void;
  readonly #decoder = new StringDecoder("utf8");
  readonly #pieces: Piece[] = [];
  #text = "";
  #sent = 0;
  #finish: Finish | undefined;

  constructor(asked: Asked, streams: boolean, shape: Shape, response: ServerResponse, crash: () => void) {
    this.#asked = asked;
    this.#streams = streams;
    this.#shape = shape;
    this.#response = response;
    this.#crash = crash;
    if (!streams) return;
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "x-compute-type": "cpu",
      "x-accel-buffering": "no",
    });
    response.flushHeaders();
  }

  token(_choice: number, token: Token, last: "stop" | "length" | undefined): void {
    if (this.#finish) return;
    const text = this.#decoder.write(token.bytes);
    const special = token.special ?? false;
    if (!special) this.#text += text;
    this.#pieces.push(this.#pieceOf(token, text, special));
    if (this.#asked.stops.some((stop) => this.#text.endsWith(stop))) {
      this.#finish = "stop_sequence";
      if (last === undefined) this.running?.finishChoice(0);
    } else if (last === "length") this.#finish = "length";
    else if (last === "stop") {
      this.#finish = "eos_token";
      this.#pieces.push(this.#pieceOf(eos, eos.bytes.toString("utf8"), true));
    }
  }

  #pieceOf(token: Token, text: string, special: boolean): Piece {
    const { others, logprob } = scoredFrom(token, this.#asked.top, 0);
    const tops = others.map((other) => ({ id: token.id, text: other.text, logprob: other.logprob, special }));
    return { token: { id: token.id, text, logprob, special }, tops };
  }

  step(): void {
    if (!this.#streams) return;
    // The last token comes with the details.
    const ready = this.#finish ? this.#pieces.slice(this.#sent, -1) : this.#pieces.slice(this.#sent);
    for (const piece of ready) this.#event(this.#shape.event(++this.#sent, piece));
    if (this.#response.writableLength > pendingBytesMax) this.#response.destroy();
  }

  done(): void {
    const last = this.#pieces.at(-1);
    if (last === undefined || this.#finish === undefined) return this.#fail(incomplete);
    const end = {
      finish: this.#finish,
      tokens: this.#pieces.length,
      promptTokens: this.running?.promptTokens ?? 0,
      seed: this.#asked.job.seed === undefined ? null : Number(this.#asked.job.seed),
      // Nothing, where the last character is not whole.
      text: this.#decoder.end() === "" ? this.#text : "",
    };
    if (!this.#streams) {
      const body = JSON.stringify(this.#shape.whole(this.#pieces, end));
      return void this.#response
        .writeHead(200, {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          "x-compute-type": "cpu",
          "x-prompt-tokens": end.promptTokens,
          "x-generated-tokens": end.tokens,
        })
        .end(body);
    }
    for (const event of this.#shape.last(this.#pieces.length, last, end)) this.#event(event);
    this.#response.end(this.#shape.terminator);
  }

  failed(fault: Fault): void {
    if (fault.kind === "crash") this.#crash();
    else if (fault.kind === "cut") this.#response.socket?.resetAndDestroy();
    else if (fault.kind === "early_end" && this.#streams) this.#response.end();
    else if (fault.kind === "early_end") this.#fail(incomplete);
    else this.#fail(fault.kind === "reject" ? overloaded : failedGeneration);
  }

  /** Tells why there is no answer, as an event or as a status. */
  #fail(failure: TgiFailure): void {
    answerFailure(this.#response, failure, this.#shape);
  }

  #event(json: object): void {
    this.#response.write(`data:${JSON.stringify(json)}\n\n`);
  }
}

/** Answers with a failure: as an event in a stream that has begun, else with its status. */
export function answerFailure(response: ServerResponse, failure: TgiFailure, shape: ErrorShape): void {
  if (response.headersSent) {
    response.end(`data:${JSON.stringify(shape.error(failure))}\n\n${shape.terminator}`);
    return;
  }
  const { status, ...error } = failure;
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(error));
}
