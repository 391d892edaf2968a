import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectSocket } from "node:net";
import { status as grpcStatus } from "@grpc/grpc-js";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Timer } from "../../runtime/clock.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { Target } from "../driver.ts";
import { connectTimeoutMs } from "../reach.ts";
import { StatusError } from "./status-error.ts";

/** Schemes of addresses that may be spoken to without TLS: whoever writes https means that no key goes out in cleartext. */
const cleartext: ReadonlySet<string> = new Set(["grpc:", "http:", "any:"]);

/** Whether gRPC, which is spoken without TLS, may be spoken at an address. */
export function speaksCleartext(url: string): boolean {
  return cleartext.has(new URL(url).protocol);
}

/** In MB; Node's own bound of 10 is less than what 512 streams may hold while nobody reads them. */
const sessionMemoryMb = 256;

/**
 * The HTTP/2 session to one server. It connects with its first stream; after a loss, or when the server wants no more
 * streams on it, the next stream makes another one. None is tried twice.
 */
export class Session {
  readonly #target: Target;
  readonly #host: string;
  readonly #port: number;
  readonly #wantsTls: boolean;
  #current: Connection | undefined;

  constructor(target: Target) {
    const { hostname, port } = new URL(target.url);
    this.#target = target;
    this.#host = hostname.replace(/^\[(.*)\]$/, "$1");
    this.#port = Number(port || 80);
    this.#wantsTls = !speaksCleartext(target.url);
  }

  get isConnected(): boolean {
    return this.#current?.isConnected ?? false;
  }

  /** The connection for a new stream. Throws ENGINE_PROTOCOL for an address that wants TLS: nothing is said there. */
  connection(): Connection {
    if (this.#wantsTls)
      throw fail(ErrorReason.ENGINE_PROTOCOL, { problem: "gRPC is spoken without TLS, to grpc://host:port" });
    if (this.#current === undefined || this.#current.isOver)
      this.#current = new Connection(this.#target, this.#host, this.#port);
    return this.#current;
  }

  /** Ends it once what was reset is said. */
  close(): void {
    this.#current?.close();
    this.#current = undefined;
  }
}

/** One connection, from its dialling to its end. */
export class Connection {
  readonly #http2: ClientHttp2Session;
  readonly #timer: Timer;
  #wasConnected = false;
  /** Why it ended, if that is known. */
  #failure: Error | undefined;

  constructor({ clock }: Target, host: string, port: number) {
    const authority = host.includes(":") ? `[${host}]` : host;
    const http2 = connect(`http://${authority}:${port}`, {
      createConnection: () => connectSocket({ host, port, noDelay: true }),
      maxSessionMemory: sessionMemoryMb,
      settings: { enablePush: false },
    });
    this.#http2 = http2;
    const timer = clock.setTimer(connectTimeoutMs, () => http2.destroy(new Error("the server does not answer")));
    this.#timer = timer;
    http2.once("connect", () => {
      this.#wasConnected = true;
      timer.cancel();
    });
    http2.on("error", (error: Error) => {
      this.#failure = error;
    });
    http2.once("close", () => timer.cancel());
  }

  /** Whether it stands, and takes new streams. */
  get isConnected(): boolean {
    return this.#wasConnected && !this.isOver;
  }

  /** Whether it takes no new streams. */
  get isOver(): boolean {
    return this.#http2.closed || this.#http2.destroyed;
  }

  /** Opens a stream, which waits until the connection stands. */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    return this.#http2.request(headers);
  }

  /** What became of a stream that ended with the connection; undefined: the connection lives, and it ended by itself. */
  loss(streamError: Error | undefined): StatusError | undefined {
    if (!this.isOver) return undefined;
    const cause = this.#failure ?? streamError;
    if (!this.#wasConnected) return new StatusError(grpcStatus.UNAVAILABLE, "No connection established", cause);
    // nghttp2 could not bear what the server sent.
    if (codeOf(cause) === "ERR_HTTP2_ERROR") return new StatusError(grpcStatus.INTERNAL, "Protocol error", cause);
    return new StatusError(grpcStatus.UNAVAILABLE, "Connection dropped", cause);
  }

  close(): void {
    this.#timer.cancel();
    if (this.#http2.connecting) this.#http2.destroy();
    else this.#http2.close();
  }
}

function codeOf(error: Error | undefined): unknown {
  return error !== undefined && "code" in error ? error.code : undefined;
}
