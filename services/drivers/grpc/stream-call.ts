import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
} from "node:http2";
import { status as grpcStatus } from "@grpc/grpc-js";
import { framed, MessageFrames } from "./message-frames.ts";
import type { Connection } from "./connection.ts";
import { StatusError, statusFromHttp, statusFromReset, statusFromTrailers } from "./status-error.ts";

/** Who hears a call. After `onEnd` or `onError`, of which exactly one comes, and after a cancel nothing is told. */
export interface CallReceiver<O> {
  onMessage(message: O): void;
  /** The call ended with status OK. */
  onEnd(): void;
  onError(error: StatusError): void;
}

/** A call that runs. */
export interface Call {
  /** Reads no more until `resume`. */
  pause(): void;
  resume(): void;
  /** Ends it at both sides, and says nothing more. May be called at any time. */
  cancel(): void;
}

export interface StreamCallOptions<O> {
  readonly connection: Connection;
  readonly headers: OutgoingHttpHeaders;
  /** The bytes of the request's message. */
  readonly request: Uint8Array;
  /** Reads a message; what it throws ends the call. */
  readonly read: (bytes: Buffer) => O;
  /** The longest message. */
  readonly bytesMax: number;
  readonly receiver: CallReceiver<O>;
  /** The call is over, however that came. */
  readonly over: (call: StreamCall<O>) => void;
}

/**
 * One call on an HTTP/2 stream: a request, and the messages that come back.
 *
 * It waits for *headers*; those of another status than 200 are an end, whatever follows. Then come *messages*, and the
 * *trailers* with the status, which may also be in the headers. A stream that closes without them was reset, or went with
 * its connection.
 *
 * It stands on node:http2, and not on grpc-js, because a token costs half as much that way.
 */
export class StreamCall<O> implements Call {
  readonly #options: StreamCallOptions<O>;
  readonly #frames: MessageFrames;
  readonly #stream: ClientHttp2Stream;
  #headers: (IncomingHttpHeaders & IncomingHttpStatusHeader) | undefined;
  #trailers: IncomingHttpHeaders | undefined;
  #streamError: Error | undefined;
  #open = true;

  /** Throws what node:http2 throws for headers that cannot be sent. */
  constructor(options: StreamCallOptions<O>) {
    this.#options = options;
    this.#frames = new MessageFrames(options.bytesMax);
    const stream = options.connection.request(options.headers);
    this.#stream = stream;
    stream.on("response", (headers: IncomingHttpHeaders & IncomingHttpStatusHeader) => {
      this.#headers = headers;
    });
    stream.on("trailers", (trailers: IncomingHttpHeaders) => {
      this.#trailers = trailers;
    });
    stream.on("data", (chunk: Buffer) => this.#data(chunk));
    stream.on("error", (error: Error) => {
      this.#streamError = error;
    });
    stream.on("close", () => this.#closed());
    stream.end(framed(options.request));
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  cancel(): void {
    this.#leave();
    const stream = this.#stream;
    // Its connection does not stand yet. To close it would send it all the same, and then its reset.
    if (stream.pending) return void stream.destroy();
    // What came unread is dropped, or the stream would never close.
    stream.resume();
    stream.close(constants.NGHTTP2_CANCEL);
    this.#options.connection.gaveUp();
  }

  /** Ends it at both sides with a status. */
  fail(error: StatusError): void {
    if (!this.#leave()) return;
    this.cancel();
    this.#options.receiver.onError(error);
  }

  readonly #take = (bytes: Buffer): void => {
    if (!this.#open) return;
    let message: O;
    try {
      message = this.#options.read(bytes);
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : String(thrown);
      throw new StatusError(grpcStatus.INTERNAL, `Response message parsing error: ${text}`, thrown);
    }
    this.#options.receiver.onMessage(message);
  };

  #data(chunk: Buffer): void {
    if (!this.#open || this.#headers?.[":status"] !== 200) return;
    try {
      this.#frames.push(chunk, this.#take);
    } catch (thrown) {
      if (!(thrown instanceof StatusError)) throw thrown;
      this.fail(thrown);
    }
  }

  #closed(): void {
    if (!this.#leave()) return;
    const failure = this.#failure();
    if (failure === undefined) this.#options.receiver.onEnd();
    else this.#options.receiver.onError(failure);
  }

  #failure(): StatusError | undefined {
    const headers = this.#headers;
    const said = this.#trailers ?? (headers && "grpc-status" in headers ? headers : undefined);
    if (said && "grpc-status" in said) return statusFromTrailers(said);
    if (headers && headers[":status"] !== 200) return statusFromHttp(headers[":status"] ?? 0);
    if (said) return statusFromTrailers(said);
    return this.#options.connection.loss(this.#streamError) ?? statusFromReset(this.#stream.rstCode ?? 0);
  }

  /** Returns whether it was open. */
  #leave(): boolean {
    if (!this.#open) return false;
    this.#open = false;
    this.#options.over(this);
    return true;
  }
}
