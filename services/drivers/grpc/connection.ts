import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { status as grpcStatus } from "@grpc/grpc-js";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { connectTimeoutMs } from "../reach.ts";
import { StatusError } from "./status-error.ts";

/** In MB; Node's own bound of 10 is less than what 512 streams may hold while nobody reads them. */
const sessionMemoryMb = 256;
/** How soon the system begins to ask a silent server whether it is there. */
const probeAfterMs = 60_000;
/** How often it is looked at whether bytes come, while streams are open. */
const lookMs = 2_000;
/** Streams that hear nothing for 10 s may have no connection any more. Looks are counted: this process may be held up. */
const silentLooksMax = 5;
/** A stream that is given up after so long a silence may have been given up because of the connection. */
const doubtfulMs = 2_000;
/** A firewall may have forgotten one that nobody used for so long, and another is made in a moment. */
const idleMsMax = 30_000;
/** How long a server may take to answer a ping: one whose process is held up is not dead. */
const pingTimeoutMs = 10_000;

/**
 * One connection, from its dialling to its end.
 *
 * - **dialling**: streams wait for it. It comes to stand within 3 s, or it is over.
 * - **standing**: it takes streams.
 * - **retired**: it may be dead, because nobody used it for 30 s, its streams heard nothing for 10 s, or one of them was
 *   given up in a silence. New streams have another connection. The server is pinged, and ends the retired one by its
 *   silence, with a loss for the streams on it; if it answers, they go on, and the last one ends the connection.
 * - **over**.
 *
 * One ping in the life of a connection, and none on one that is heard: servers built on gRPC's core end a connection, with
 * all calls on it, at the fourth ping without data.
 */
export class Connection {
  readonly #clock: Clock;
  readonly #http2: ClientHttp2Session;
  readonly #socket: Socket;
  readonly #dialling: Timer;
  #wasConnected = false;
  /** Why it ended, if that is known. */
  #failure: Error | undefined;
  #streams = 0;
  #bytesRead = 0;
  /** When bytes came last while streams were open, at most one look late. */
  #heardMs = 0;
  #silentLooks = 0;
  /** The next look, or the end of the ping. */
  #timer: Timer | undefined;
  #isRetired = false;

  constructor(clock: Clock, host: string, port: number) {
    this.#clock = clock;
    const authority = host.includes(":") ? `[${host}]` : host;
    const socket = connectSocket({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: probeAfterMs });
    const http2 = connect(`http://${authority}:${port}`, {
      createConnection: () => socket,
      maxSessionMemory: sessionMemoryMb,
      settings: { enablePush: false },
    });
    this.#socket = socket;
    this.#http2 = http2;
    this.#dialling = clock.setTimer(connectTimeoutMs, () => this.#destroy(new Error("the server does not answer")));
    http2.once("connect", () => {
      this.#wasConnected = true;
      this.#dialling.cancel();
      this.#heardMs = clock.monotonicMs();
      if (this.#streams > 0) this.#watch();
    });
    http2.on("error", (error: Error) => {
      this.#failure = error;
    });
    http2.once("close", () => {
      this.#dialling.cancel();
      this.#timer?.cancel();
    });
  }

  get #isOver(): boolean {
    return this.#http2.closed || this.#http2.destroyed;
  }

  /** Whether it ended with streams on it. One on which the server wants no more lives until the last of them has ended. */
  get #isLost(): boolean {
    const { closed, destroyed } = this.#http2;
    return this.#failure !== undefined || this.#socket.destroyed || (destroyed && !closed);
  }

  /** Whether it takes new streams. Retires it if it was silent for too long. */
  takesStreams(): boolean {
    if (this.#isRetired || this.#isOver) return false;
    if (!this.#wasConnected || this.#silenceMs() < idleMsMax) return true;
    this.#retire();
    return false;
  }

  /** Opens a stream, which waits until the connection stands. */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    const stream = this.#http2.request(headers);
    this.#streams += 1;
    stream.once("close", () => this.#streamClosed());
    if (this.#streams === 1 && this.#wasConnected) {
      // What came while nobody asked may be old.
      this.#bytesRead = this.#socket.bytesRead;
      this.#silentLooks = 0;
      this.#watch();
    }
    return stream;
  }

  /** One of its streams was given up. */
  gaveUp(): void {
    const isInUse = this.#wasConnected && !this.#isRetired && !this.#isOver;
    if (isInUse && this.#silenceMs() >= doubtfulMs) this.#retire();
  }

  /** What became of a stream that ended with the connection; undefined: the connection lives, and it ended by itself. */
  loss(streamError: Error | undefined): StatusError | undefined {
    if (!this.#isLost) return undefined;
    const cause = this.#failure ?? streamError;
    if (!this.#wasConnected) return new StatusError(grpcStatus.UNAVAILABLE, "No connection established", cause);
    // nghttp2 could not bear what the server sent.
    if (codeOf(cause) === "ERR_HTTP2_ERROR") return new StatusError(grpcStatus.INTERNAL, "Protocol error", cause);
    return new StatusError(grpcStatus.UNAVAILABLE, "Connection dropped", cause);
  }

  close(): void {
    this.#dialling.cancel();
    if (this.#http2.connecting) this.#destroy();
    else this.#http2.close();
  }

  #streamClosed(): void {
    this.#silenceMs();
    this.#streams -= 1;
    if (this.#streams > 0) return;
    // Its call hears of the close after this, and asks then whether the connection lives.
    if (this.#isRetired) queueMicrotask(() => this.#destroy());
    else this.#timer?.cancel();
  }

  /** For how long no byte has come to a stream. */
  #silenceMs(): number {
    const nowMs = this.#clock.monotonicMs();
    const { bytesRead } = this.#socket;
    if (this.#streams > 0 && bytesRead !== this.#bytesRead) {
      this.#bytesRead = bytesRead;
      this.#heardMs = nowMs;
    }
    return nowMs - this.#heardMs;
  }

  #watch(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(lookMs, () => {
      this.#silentLooks = this.#silenceMs() < lookMs ? 0 : this.#silentLooks + 1;
      if (this.#silentLooks >= silentLooksMax) this.#retire();
      else this.#watch();
    });
  }

  #retire(): void {
    this.#isRetired = true;
    this.#timer?.cancel();
    if (this.#http2.destroyed) return;
    if (this.#streams === 0) return this.#destroy();
    const { bytesRead } = this.#socket;
    this.#http2.ping(() => undefined);
    // What came while this process was busy is read before it is judged.
    const judge = () => {
      if (this.#socket.bytesRead === bytesRead) this.#destroy(new Error("the server is silent"));
    };
    this.#timer = this.#clock.setTimer(pingTimeoutMs, () => void setImmediate(judge));
  }

  #destroy(reason?: Error): void {
    this.#failure ??= reason;
    this.#http2.destroy(reason);
    // A session that has not begun leaves its socket to go on dialling.
    if (this.#socket.connecting) this.#socket.destroy();
  }
}

function codeOf(error: Error | undefined): unknown {
  return error !== undefined && "code" in error ? error.code : undefined;
}
