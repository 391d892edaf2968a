import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { Target } from "../driver.ts";
import { Connection } from "./connection.ts";

/** Schemes of addresses that may be spoken to without TLS: whoever writes https means that no key goes out in cleartext. */
const cleartext: ReadonlySet<string> = new Set(["grpc:", "http:", "any:"]);

/** Whether gRPC, which is spoken without TLS, may be spoken at an address. */
export function speaksCleartext(url: string): boolean {
  return cleartext.has(new URL(url).protocol);
}

/**
 * The HTTP/2 session to one server. It connects with its first stream; after a loss, when the server wants no more streams
 * on it, or when it may be dead, the next stream makes another one. None is tried twice.
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

  /** The connection for a new stream. Throws ENGINE_PROTOCOL for an address that wants TLS: nothing is said there. */
  connection(): Connection {
    if (this.#wantsTls)
      throw fail(ErrorReason.ENGINE_PROTOCOL, { problem: "gRPC is spoken without TLS, to grpc://host:port" });
    if (!this.#current?.takesStreams()) this.#current = new Connection(this.#target.clock, this.#host, this.#port);
    return this.#current;
  }

  /** Ends it once what was reset is said. */
  close(): void {
    this.#current?.close();
    this.#current = undefined;
  }
}
