import type { Dispatcher } from "undici";
import type { IncomingHttpHeaders } from "undici/types/header.js";
import type { Timer } from "../../runtime/clock.ts";
import type { Answer, EngineSide } from "../answer.ts";
import type { Target } from "../driver.ts";
import { type Failure, lost, protocol, unavailable } from "../failure.ts";
import type { ChunkReader } from "./chunk.ts";
import { failureFromResponse } from "./errors.ts";
import { parsed } from "./json.ts";
import { EventTooLong, SseParser } from "./sse.ts";

/** What of an error's body is read: no error needs more, and a page of HTML says nothing. */
const errorBytesMax = 64 * 1024;

/** After [DONE] a response ends at once, and its connection can be used again; else it is closed. */
const tailMs = 1_000;
const tailBytesMax = 16 * 1024;

type Body = { readonly kind: "events"; readonly parser: SseParser } | Collected;

/** A body that is read when it is whole. */
interface Collected {
  readonly kind: "json" | "error";
  readonly chunks: Buffer[];
  bytes: number;
}

/**
 * One HTTP exchange: what undici tells of it goes to the reader, and its ends to the answer.
 *
 * It waits for the head of the response; a 200 is then read as events or as one JSON text, by its content type, anything
 * else as an error. It is over with [DONE], with the end of the body, or when the connection breaks. Cancelling destroys
 * the connection, which is how these servers hear of it.
 */
export class Exchange implements Dispatcher.DispatchHandler, EngineSide {
  readonly #target: Target;
  readonly #start: { answer: Answer; reader: ChunkReader };
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #body: Body = { kind: "error", chunks: [], bytes: 0 };
  #tailBytes = 0;
  #tail: Timer | undefined;
  #over = false;

  /** `connect` builds the answer and its reader, which need this as their engine's side. */
  constructor(target: Target, connect: (engine: EngineSide) => { answer: Answer; reader: ChunkReader }) {
    this.#target = target;
    this.#start = connect(this);
  }

  get answer(): Answer {
    return this.#start.answer;
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    // Not at once: undici's parser must not be entered from within the handler of another response.
    queueMicrotask(() => this.#controller?.resume());
  }

  release(stop: boolean): void {
    if (stop) return this.#abort();
    if (!this.#over) this.#tail = this.#target.clock.setTimer(tailMs, () => this.#abort());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // It was cancelled while it waited for a connection.
    if (!this.answer.open) this.#abort();
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    this.#status = status;
    this.#headers = headers;
    const type = String(headers["content-type"] ?? "");
    const encoding = headers["content-encoding"];
    if (status !== 200) return;
    if (encoding !== undefined && encoding !== "identity") return this.#fail(protocol("a compressed answer"));
    if (type.includes("json")) this.#body = { kind: "json", chunks: [], bytes: 0 };
    else if (type.includes("text/event-stream")) {
      const parser = new SseParser((data, name) => this.#event(data, name), this.#target.receiveBytesMax);
      this.#body = { kind: "events", parser };
    } else this.#fail(protocol("an answer that is neither JSON nor an event stream"));
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.answer.open) return this.#drop(chunk);
    if (this.#body.kind === "events") {
      this.answer.touch();
      try {
        this.#body.parser.push(chunk);
      } catch (thrown) {
        this.#broken(thrown);
      }
    } else this.#collect(this.#body, chunk);
  }

  onResponseEnd(): void {
    this.#finished();
    if (!this.answer.open) return;
    if (this.#body.kind === "events") this.#eventsEnded(this.#body.parser);
    else if (this.#body.kind === "json") this.#json(this.#body);
    else this.#refused(this.#body);
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#finished();
    if (!this.answer.open) return;
    // Bytes that are no HTTP are another thing than a peer that went away.
    const gone = this.#controller === undefined ? unavailable : lost;
    const failure = error.name === "HTTPParserError" ? protocol("it does not speak HTTP") : gone;
    this.answer.broke(this.answer.error(failure, error));
  }

  #event(data: string, name: string): void {
    if (!this.answer.open) return;
    if (data === "[DONE]") return this.answer.end();
    const json = parsed(data);
    if (json === undefined) return this.#fail(protocol("an event that is not JSON"));
    const failure = this.#start.reader.read(name === "error" ? { error: json } : json);
    if (failure) this.#fail(failure);
  }

  #eventsEnded(parser: SseParser): void {
    try {
      parser.end();
    } catch (thrown) {
      return this.#broken(thrown);
    }
    if (parser.junk && !this.answer.complete) this.#fail(protocol("an answer that is no event stream"));
    else this.answer.end();
  }

  #collect(body: Collected, chunk: Buffer): void {
    body.bytes += chunk.length;
    body.chunks.push(chunk);
    if (body.kind === "json" && body.bytes > this.#target.receiveBytesMax) this.#broken(new EventTooLong());
    if (body.kind === "error" && body.bytes > errorBytesMax) this.#refused(body);
  }

  #json(body: Collected): void {
    const json = parsed(Buffer.concat(body.chunks).toString("utf8"));
    if (json === undefined) return this.#fail(protocol("an answer that is not JSON"));
    const failure = this.#start.reader.read(json);
    if (failure) this.#fail(failure);
    else this.answer.end();
  }

  #refused(body: Collected): void {
    const text = Buffer.concat(body.chunks).toString("utf8", 0, Math.min(body.bytes, errorBytesMax));
    this.#fail(failureFromResponse(this.#status, this.#headers, text, this.#target.clock.nowMs()));
  }

  #broken(thrown: unknown): void {
    const problem =
      thrown instanceof EventTooLong ? "an answer longer than the limit" : "an answer that cannot be read";
    this.answer.fail(this.answer.error(protocol(problem), thrown));
  }

  #fail(failure: Failure): void {
    this.answer.fail(this.answer.error(failure), !this.#over);
  }

  #drop(chunk: Buffer): void {
    this.#tailBytes += chunk.length;
    if (this.#tailBytes > tailBytesMax) this.#abort();
  }

  #finished(): void {
    this.#over = true;
    this.#tail?.cancel();
  }

  #abort(): void {
    this.#tail?.cancel();
    if (!this.#over) this.#controller?.abort(new Error("the answer is not wanted any more"));
  }
}
