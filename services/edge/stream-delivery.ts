import type { Delta, Finished, Started, Usage } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { Timer } from "../runtime/clock.ts";
import type { HttpSettings } from "../runtime/config/settings.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import { openaiErrorBody } from "../runtime/errors/http-body.ts";
import type { AnswerControl, Delivery } from "./answer.ts";
import type { Exchange } from "./exchange.ts";
import type { ChunkFormat } from "./openai/answer-format.ts";
import { cutReader, watchEnd } from "./slow-reader.ts";
import { StreamBody } from "./stream-body.ts";

/** The engine is asked to wait when this many bytes wait for the reader. */
const pendingBytesMax = 65_536;
/** A comment: every client skips it. */
const keepalive = ": keepalive\n\n";

type StreamSettings = Pick<HttpSettings, "acceptAfterMs" | "keepaliveIntervalMs" | "slowReaderTimeoutMs">;

/**
 * Sends an answer as an event stream, one write for each turn of the event loop.
 *
 * *Waiting*: nothing is sent, so that a failure has its own status. The engine's first event ends it, or the time after
 * which a proxy on the way might lose patience.
 * *Open*: the status and the first chunks are out. Silence is broken by comments; a failure is one event with an error,
 * after which there is no end mark. A reader who is behind holds the engine back, and one who stays behind is cut.
 * *Closed*: the last byte is handed over, or the reader is gone.
 */
export class StreamDelivery implements Delivery {
  readonly #exchange: Exchange;
  readonly #format: ChunkFormat;
  readonly #settings: StreamSettings;
  readonly #control: AnswerControl;
  #state: "waiting" | "open" | "closed" = "waiting";
  /** Once it is open. */
  #body: StreamBody | undefined;
  /** Text of this turn. */
  #text = "";
  /** The last write left bytes with us, and no drain has come since. */
  #behind = false;
  #wroteMs: number;
  /** Waiting: opens the stream. Open: breaks the silence. */
  #timer: Timer;
  #cutTimer: Timer | undefined;

  constructor(exchange: Exchange, format: ChunkFormat, settings: StreamSettings, control: AnswerControl) {
    this.#exchange = exchange;
    this.#format = format;
    this.#settings = settings;
    this.#control = control;
    this.#wroteMs = exchange.clock.monotonicMs();
    this.#timer = exchange.clock.setTimer(settings.acceptAfterMs, () => {
      this.#open();
      // HTTP/1 sends the status with the first bytes of the body only.
      if (this.#text === "") this.#text = keepalive;
      this.turn();
    });
    exchange.response.on("drain", () => this.#drained());
  }

  started(started: Started): void {
    this.#exchange.ignore(started.ignored);
    this.#exchange.limits(started);
    this.#open();
  }

  delta(delta: Delta): void {
    this.#open();
    this.#exchange.firstToken();
    this.#text += this.#format.delta(delta);
  }

  finished(finished: Finished): void {
    this.#open();
    this.#text += this.#format.finished(finished);
  }

  turn(): void {
    if (this.#state !== "open" || this.#text === "") return;
    const text = this.#text;
    this.#text = "";
    this.#wroteMs = this.#exchange.clock.monotonicMs();
    if (this.#body?.write(text)) return;
    this.#behind = true;
    this.#cutTimer ??= this.#exchange.clock.setTimer(this.#settings.slowReaderTimeoutMs, () => this.#cut());
  }

  complete(usage: Usage | undefined): void {
    this.#open();
    this.#text += this.#format.close(usage);
    this.#close();
  }

  fail(error: WeirError): void {
    if (this.#state === "waiting") {
      this.abandon();
      this.#exchange.fail(error);
    } else if (this.#state === "open") {
      this.#exchange.failed(error);
      this.#text += `data: ${JSON.stringify(openaiErrorBody(error))}\n\n`;
      this.#close();
    }
  }

  abandon(): void {
    this.#state = "closed";
    this.#timer.cancel();
    this.#cutTimer?.cancel();
  }

  full(): boolean {
    return this.#behind && this.#exchange.response.writableLength >= pendingBytesMax;
  }

  #open(): void {
    if (this.#state !== "waiting") return;
    this.#state = "open";
    this.#timer.cancel();
    this.#text = this.#format.open();
    const headers = this.#exchange.headers();
    headers["content-type"] = "text/event-stream; charset=utf-8";
    headers["cache-control"] = "no-cache";
    // Proxies that collect an answer before they pass it on are told not to.
    headers["x-accel-buffering"] = "no";
    this.#exchange.response.writeHead(200, headers);
    this.#body = new StreamBody(this.#exchange.response);
    this.#timer = this.#beatAfter(this.#settings.keepaliveIntervalMs);
  }

  #beatAfter(delayMs: number): Timer {
    return this.#exchange.clock.setTimer(delayMs, () => {
      const silentMs = this.#exchange.clock.monotonicMs() - this.#wroteMs;
      const leftMs = this.#settings.keepaliveIntervalMs - silentMs;
      if (leftMs > 0) {
        this.#timer = this.#beatAfter(leftMs);
        return;
      }
      // To a reader who is behind the connection is not silent.
      if (!this.#behind) this.#text += keepalive;
      this.turn();
      this.#timer = this.#beatAfter(this.#settings.keepaliveIntervalMs);
    });
  }

  #drained(): void {
    this.#behind = false;
    this.#cutTimer?.cancel();
    this.#cutTimer = undefined;
    if (this.#state === "open") this.#control.resume();
  }

  /** The last bytes: a reader who does not take them is cut, too. */
  #close(): void {
    this.turn();
    this.#state = "closed";
    this.#timer.cancel();
    this.#cutTimer?.cancel();
    this.#body?.end();
    watchEnd(this.#exchange, this.#exchange.response);
  }

  #cut(): void {
    this.abandon();
    this.#control.stop(cutReader(this.#exchange, this.#exchange.response));
  }
}
