import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect as connectSocket, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, Timer } from "../clock.ts";

/**
 * How long an address may take to be connected to. With the second that a watch waits between its tries, a way that is
 * open again is found within 2 s. Looking up a name is not counted.
 */
const connectTimeoutMs = 800;
/** How often a connection with open calls is looked at. */
const lookMs = 500;
/** After this many looks without a byte the peer is asked for one. */
const askLooks = 1;
/** From here on it is doubtful: a peer of the same installation answers a ping in far less than half a second. */
const doubtfulLooks = 2;
/** From here on it is given up, 15 s after the last byte: a peer that stood still for less goes on with its streams. */
const lostLooks = 30;

/**
 * One HTTP/2 connection to a peer, in the form that Connect takes.
 *
 * - **dialling**: calls wait for it. It comes to stand within 0.8 s, or is over.
 * - **standing**: while calls are open it is looked at twice a second. One that brought nothing in between is pinged.
 * - **doubtful**: the ping has no answer. New calls should go elsewhere. A byte makes it *standing* again; it is over as
 *   soon as it carries no call, and at last after 15 s, with the calls on it.
 * - **over**: the peer wants no new calls on it, and its last one goes on; or it is gone.
 *
 * TCP alone would go on with a dead one for a quarter of an hour. Looks are counted, and no time is measured: a process that
 * was held up itself has not heard silence.
 */
export class PeerConnection {
  readonly authority: string;
  readonly #clock: Clock;
  readonly #http2: ClientHttp2Session;
  readonly #stands: Promise<void>;
  readonly #socket: Socket;
  #failure: Error | undefined;
  #calls = 0;
  #timer: Timer | undefined;
  #bytesRead = 0;
  #silentLooks = 0;

  constructor(baseUrl: string, clock: Clock) {
    this.authority = new URL(baseUrl).origin;
    this.#clock = clock;
    const socket = dial(new URL(baseUrl));
    this.#socket = socket;
    const http2 = connect(this.authority, { createConnection: () => socket });
    this.#http2 = http2;
    let dialling: Timer | undefined;
    socket.on("connectionAttempt", () => {
      dialling?.cancel();
      dialling = clock.setTimer(connectTimeoutMs, () => this.end(away("the peer cannot be connected to")));
    });
    http2.on("error", (error: Error) => {
      this.#failure ??= error;
    });
    this.#stands = new Promise((resolve, reject) => {
      http2.once("connect", () => {
        dialling?.cancel();
        if (this.#calls > 0) this.#watch();
        resolve();
      });
      http2.once("close", () => {
        dialling?.cancel();
        this.#rest();
        reject(this.#failure ?? away("the connection to the peer ended"));
      });
    });
    // Whoever waits for it is told; nobody may.
    this.#stands.catch(() => undefined);
  }

  /** Calls that it carries, or that wait for it. */
  get calls(): number {
    return this.#calls;
  }

  /** Whether new calls may go over it. */
  get isOpen(): boolean {
    return !this.#http2.closed && !this.#http2.destroyed && !this.#isDoubtful;
  }

  /** Whether nothing is left of it. */
  get isGone(): boolean {
    return this.#http2.destroyed;
  }

  /** A call is to go over it. */
  begin(): void {
    this.#calls += 1;
    if (this.#calls === 1) this.#http2.ref();
    if (!this.#http2.connecting && !this.#timer) this.#watch();
  }

  /** One of them is over. */
  leave(): void {
    this.#calls -= 1;
    if (this.#calls > 0) return;
    if (this.#isDoubtful) return this.end(away("the peer is silent"));
    // What nobody uses does not keep the process.
    this.#http2.unref();
    // Calls that were given up without a byte leave the question whether the peer is there.
    if (this.#hear()) this.#rest();
  }

  /** Opens a stream. Connect calls this. */
  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: Omit<ClientSessionRequestOptions, "signal">,
  ): Promise<ClientHttp2Stream> {
    await this.#stands;
    return this.#http2.request({ ...headers, ":method": method, ":path": path }, options);
  }

  /** Connect calls this; bytes are counted at the socket, whichever stream they are of. */
  notifyResponseByteRead(): void {}

  /** Ends it at once, and the calls on it with this error. */
  end(reason: ConnectError): void {
    if (this.#http2.destroyed) return;
    this.#failure ??= reason;
    this.#http2.destroy(reason, constants.NGHTTP2_CANCEL);
    // A session that has not begun leaves its socket to go on dialling.
    if (this.#socket.connecting) this.#socket.destroy();
  }

  get #isDoubtful(): boolean {
    return this.#silentLooks >= doubtfulLooks;
  }

  #watch(): void {
    // What came while this process was busy is read before it is looked at.
    const timer = this.#clock.setTimer(
      lookMs,
      () =>
        void setImmediate(() => {
          if (this.#timer === timer) this.#look();
        }),
    );
    this.#timer = timer;
  }

  #rest(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Whether bytes came since it was asked last. */
  #hear(): boolean {
    const { bytesRead } = this.#socket;
    if (bytesRead === this.#bytesRead) return false;
    this.#bytesRead = bytesRead;
    this.#silentLooks = 0;
    return true;
  }

  #look(): void {
    if (this.#http2.destroyed) return this.#rest();
    if (!this.#hear()) this.#silentLooks += 1;
    else if (this.#calls === 0) return this.#rest();
    if (this.#silentLooks >= lostLooks || (this.#isDoubtful && this.#calls === 0))
      return this.end(away("the peer is silent"));
    if (this.#silentLooks === askLooks) this.#http2.ping(() => undefined);
    this.#watch();
  }
}

function dial({ protocol, hostname, port }: URL): Socket {
  const host = hostname.replace(/^\[|\]$/g, "");
  if (protocol !== "https:") return connectSocket({ host, port: Number(port || 80), noDelay: true });
  const servername = isIP(host) ? "" : host;
  return connectTls({ host, port: Number(port || 443), servername, ALPNProtocols: ["h2"] });
}

function away(problem: string): ConnectError {
  return new ConnectError(problem, Code.Unavailable);
}
