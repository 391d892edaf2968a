import type { Timer } from "../../runtime/clock.ts";
import type { Answer, EngineSide } from "../answer.ts";
import type { Target } from "../driver.ts";
import { type Failure, lost, protocol, tooLarge, unavailable } from "../failure.ts";
import type { BrokenBy, Connection, Exchange as HttpExchange } from "../http1/connection.ts";
import type { Http1Client } from "../http1/client.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { HeldBytes } from "../held-bytes.ts";
import { parsed } from "./json.ts";
import { EventTooLong, SseParser } from "./sse.ts";

/** What of an error's body is read: no error needs more, and a page of HTML says nothing. */
const errorBytesMax = 64 * 1024;

/** After [DONE] a response ends at once, and its connection can be used again; else it is closed. */
const tailMs = 1_000;
const tailBytesMax = 16 * 1024;

/** What an exchange tells of its ends: an {@link Answer}, or one choice's part of it. */
export type AnswerSide = Pick<Answer, "open" | "complete" | "touch" | "error" | "end" | "fail" | "broke">;

/** How a protocol over HTTP is read. */
export interface Reading {
  readonly answer: AnswerSide;
  /**
   * Reads the JSON of an event, or of the whole answer; returns why the generation failed, if it did.
   *
   * @param name the event's type; empty for an ordinary one, and for a whole answer.
   */
  read(json: unknown, head: ResponseHead, name: string): Failure | undefined;
  /** The server said [DONE]; what it left out until then is to be told now. */
  done?(): void;
  /** What an answer other than 200 means. */
  refused(head: ResponseHead, body: string): Failure;
}

type Body = { readonly kind: "events"; readonly parser: SseParser } | Collected;

/** A body that is read when it is whole. */
interface Collected {
  readonly kind: "json" | "error";
  readonly held: HeldBytes;
}

/**
 * One HTTP exchange: what comes of it goes to the reader, and its ends to the answer.
 *
 * It waits for the head of the response; a 200 is then read as events or as one JSON text, by its content type, anything
 * else as an error. It is over with [DONE], with the end of the body, or when the connection breaks. Cancelling destroys
 * the connection, which is how these servers hear of it.
 *
 * It is called by the socket, where a throw would end the process: whatever reading an answer throws is that answer's
 * failure.
 */
export class Exchange implements HttpExchange, EngineSide {
  readonly #target: Target;
  readonly #reading: Reading;
  #connection: Connection | undefined;
  #head: ResponseHead | undefined;
  #body: Body = { kind: "error", held: new HeldBytes() };
  #tailBytes = 0;
  #tail: Timer | undefined;
  #over = false;

  /** `connect` builds the answer and how it is read, which need this as their engine's side. */
  constructor(target: Target, connect: (engine: EngineSide) => Reading) {
    this.#target = target;
    this.#reading = connect(this);
  }

  /** Sends the request. */
  send(http: Http1Client, request: string): void {
    this.#connection = http.send(request, this);
  }

  get #answer(): AnswerSide {
    return this.#reading.answer;
  }

  pause(): void {
    this.#connection?.pause(this);
  }

  resume(): void {
    this.#connection?.resume(this);
  }

  release(stop: boolean): void {
    if (stop) return this.#abort();
    if (!this.#over) this.#tail = this.#target.clock.setTimer(tailMs, () => this.#abort());
  }

  onHead(head: ResponseHead): void {
    this.#head = head;
    if (head.status !== 200) return;
    if (head.contentEncoding !== "" && head.contentEncoding !== "identity")
      return this.#fail(protocol("a compressed answer"));
    if (head.contentType.includes("json")) this.#body = { kind: "json", held: new HeldBytes() };
    else if (head.contentType.includes("text/event-stream")) {
      const parser = new SseParser((data, name) => this.#event(data, name), this.#target.receiveBytesMax);
      this.#body = { kind: "events", parser };
    } else this.#fail(protocol("an answer that is neither JSON nor an event stream"));
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (!this.#answer.open) return this.#drop(end - start);
    try {
      if (this.#body.kind === "events") {
        this.#answer.touch();
        this.#body.parser.push(bytes, start, end);
      } else this.#collect(this.#body, bytes, start, end);
    } catch (thrown) {
      this.#broken(thrown);
    }
  }

  onEnd(): void {
    this.#finished();
    if (!this.#answer.open) return;
    try {
      if (this.#body.kind === "events") this.#eventsEnded(this.#body.parser);
      else if (this.#body.kind === "json") this.#json(this.#body);
      else this.#refused(this.#body);
    } catch (thrown) {
      this.#broken(thrown);
    }
  }

  onBroken(by: BrokenBy, cause: unknown): void {
    this.#finished();
    if (!this.#answer.open) return;
    this.#answer.broke(this.#answer.error(failures[by], cause));
  }

  #event(data: string, name: string): void {
    if (!this.#answer.open) return;
    if (data === "[DONE]") {
      this.#reading.done?.();
      return this.#answer.end();
    }
    const json = parsed(data);
    if (json === undefined) return this.#fail(protocol("an event that is not JSON"));
    this.#read(json, name);
  }

  #eventsEnded(parser: SseParser): void {
    parser.end();
    if (parser.junk && !this.#answer.complete) this.#fail(protocol("an answer that is no event stream"));
    else this.#answer.end();
  }

  #collect(body: Collected, bytes: Buffer, start: number, end: number): void {
    const { kind, held } = body;
    held.add(bytes, start, end, this.#head?.length);
    if (kind === "json" && held.length > this.#target.receiveBytesMax) this.#broken(new EventTooLong());
    if (kind === "error" && held.length > errorBytesMax) this.#refused(body);
  }

  #json(body: Collected): void {
    const json = parsed(body.held.take().toString("utf8"));
    if (json === undefined) return this.#fail(protocol("an answer that is not JSON"));
    this.#read(json, "");
    this.#answer.end();
  }

  #read(json: unknown, name: string): void {
    const head = this.#head;
    const failure = head && this.#reading.read(json, head, name);
    if (failure) this.#fail(failure);
  }

  #refused(body: Collected): void {
    const text = body.held.take().toString("utf8", 0, errorBytesMax);
    const head = this.#head;
    if (head !== undefined) this.#fail(this.#reading.refused(head, text));
  }

  #broken(thrown: unknown): void {
    const isLong = thrown instanceof EventTooLong;
    const failure = isLong ? tooLarge(this.#target.receiveBytesMax) : protocol("an answer that cannot be read");
    this.#answer.fail(this.#answer.error(failure, thrown));
  }

  #fail(failure: Failure): void {
    this.#answer.fail(this.#answer.error(failure), !this.#over);
  }

  #drop(bytes: number): void {
    this.#tailBytes += bytes;
    if (this.#tailBytes > tailBytesMax) this.#abort();
  }

  #finished(): void {
    this.#over = true;
    this.#tail?.cancel();
  }

  #abort(): void {
    this.#tail?.cancel();
    if (this.#over) return;
    this.#over = true;
    this.#connection?.abort(this);
  }
}

const failures: Readonly<Record<BrokenBy, Failure>> = {
  unreachable: unavailable,
  lost,
  // Bytes that are no HTTP are another thing than a peer that went away.
  "not HTTP": protocol("it does not speak HTTP"),
};
