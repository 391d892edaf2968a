import type { Socket } from "node:net";
import { NotHttp } from "./response-head.ts";
import { ResponseReader, type ResponseReceiver } from "./response-reader.ts";

/** Why there is no response, or only a part of one. */
export type BrokenBy =
  /** No connection could be made: the server has heard nothing. */
  | "unreachable"
  /** The connection ended after the request had gone out on it. */
  | "lost"
  /** What came is no HTTP. */
  | "not HTTP";

/** Who sent a request, and hears what becomes of it: a head, a body, and one of the ends. */
export interface Exchange extends ResponseReceiver {
  onEnd(): void;
  onBroken(by: BrokenBy, cause: unknown): void;
}

/** Who hears of a connection's life. */
export interface ConnectionOwner {
  /** It may carry another request, within `keepMs`. What it carried was a stream, or came in one piece. */
  idle(connection: Connection, keepMs: number, streamed: boolean): void;
  /** It is gone. Called once. */
  gone(connection: Connection): void;
}

/**
 * A connection to a server, which carries one request at a time.
 *
 * *Connecting*: it was opened for a request, which goes out when it stands. *Busy*: it waits for, or reads, a response.
 * *Idle*: the response is whole, the server keeps the connection and nothing is left over on it. *Gone*: it ended, or
 * was ended. Whatever comes unasked in *idle* ends it.
 */
export class Connection {
  /** When it became idle, on the monotonic clock, and for how long it may be. Its owner's. */
  idleSinceMs = 0;
  keepMs = 0;
  /** Until when it may have to rest. Its owner's. */
  settledMs = 0;
  readonly #owner: ConnectionOwner;
  readonly #reader: ResponseReader;
  #socket: Socket | undefined;
  #standing = false;
  #exchange: Exchange | undefined;
  /** The request, until the connection stands. */
  #request = "";
  #paused = false;
  #gone = false;

  constructor(owner: ConnectionOwner, keepMsMax: number) {
    this.#owner = owner;
    this.#reader = new ResponseReader(keepMsMax);
  }

  /** Gives it its socket, which is about to connect. */
  open(socket: Socket): void {
    this.#socket = socket;
  }

  /** Sends a request, now or when the connection stands. */
  send(request: string, exchange: Exchange): void {
    this.#exchange = exchange;
    this.#reader.begin(exchange);
    if (this.#standing) this.#socket?.write(request);
    else this.#request = request;
  }

  /** The socket is connected. */
  stands(): void {
    if (this.#gone) return;
    this.#standing = true;
    this.#socket?.write(this.#request);
    this.#request = "";
  }

  /** Bytes came. */
  read(bytes: Buffer, length: number): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return this.end();
    let stop: number;
    try {
      stop = this.#reader.read(bytes, 0, length);
    } catch (thrown) {
      if (!(thrown instanceof NotHttp)) throw thrown;
      return this.#break("not HTTP", thrown);
    }
    // It may have been aborted by what it read.
    if (this.#exchange !== exchange || !this.#reader.done) return;
    this.#exchange = undefined;
    // A server that answers before it has read the request may read the rest of it as the next one.
    const clean = stop === length && this.#socket?.writableLength === 0;
    if (clean && this.#reader.keepMs > 0) this.#rest();
    else this.end();
    exchange.onEnd();
  }

  /** The server sends no more. */
  ended(): void {
    const exchange = this.#exchange;
    if (exchange === undefined || !this.#reader.end()) return this.broke(undefined);
    this.#exchange = undefined;
    this.end();
    exchange.onEnd();
  }

  /** The connection ended, or does not come to stand. */
  broke(cause: unknown): void {
    this.#break(this.#standing ? "lost" : "unreachable", cause);
  }

  /** Ends the connection if it carries this exchange: that is how servers hear that nobody waits. */
  abort(exchange: Exchange): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = undefined;
    this.end();
  }

  /** Reads no more of this exchange for now. */
  pause(exchange: Exchange): void {
    if (this.#exchange !== exchange) return;
    this.#paused = true;
    this.#socket?.pause();
  }

  resume(exchange: Exchange): void {
    if (this.#exchange === exchange) this.#read();
  }

  /** Ends it without a word to its exchange. */
  end(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#reader.stop();
    this.#request = "";
    this.#socket?.destroy();
    this.#owner.gone(this);
  }

  #rest(): void {
    // Its end would not be heard otherwise.
    this.#read();
    this.#owner.idle(this, this.#reader.keepMs, this.#reader.chunked);
  }

  #read(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume();
  }

  #break(by: BrokenBy, cause: unknown): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.end();
    exchange?.onBroken(by, cause);
  }
}
