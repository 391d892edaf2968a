import {
  createServer as createHttp2,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import { type AddressInfo, createServer as createNet, type Socket } from "node:net";
import type { Clock } from "../clock.ts";
import type { HttpSettings } from "../config/settings.ts";
import type { HttpApp, HttpRequest, HttpResponse } from "./app.ts";
import { createConnections } from "./connections.ts";
import { type FramingFault, faultBody, faultHeaders, http2Fault } from "./framing.ts";
import { createHttp1 } from "./http1.ts";
import { peekProtocol } from "./peek.ts";

/** What serves the public port. */
export interface PublicServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly http: HttpSettings;
  readonly clock: Clock;
  /** Asked in order; the first that takes a request has it. */
  readonly apps: readonly HttpApp[];
  /** Serves RPCs, and answers what nobody knows. */
  readonly rpc: (request: HttpRequest, response: HttpResponse) => void;
  /** Counts connections that were refused or closed before a request: "tls", "silent", "too_many". */
  readonly onRefused: (why: "tls" | "silent" | "too_many") => void;
}

/** A listener that is open. */
export interface Listener extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Takes no new connections, ends idle ones, and resolves when the others are done or `patienceMs` has passed. */
  drain(patienceMs: number): Promise<void>;
}

/** Streams of one HTTP/2 session: more open another one, which another worker may get. */
const streamsPerSessionMax = 128;
/** How long a connection may take to say its first bytes. */
const firstBytesMs = 5_000;
/** A session holds at most this much of headers and data that wait, in megabytes. */
const sessionMemoryMax = 16;

/** Opens the one port for HTTP/1.1, HTTP/2 cleartext, Connect, gRPC and gRPC-Web. */
export async function openPublicServer(options: PublicServerOptions): Promise<Listener> {
  const { clock } = options;
  const connections = createConnections(options.http.connectionsPerAddressMax);
  const sessions = new Set<ServerHttp2Session>();
  const handle = (request: HttpRequest, response: HttpResponse) => {
    for (const app of options.apps) if (app.handle(request, response)) return;
    options.rpc(request, response);
  };
  const http1 = createHttp1({
    headersTimeoutMs: options.http.headersTimeoutMs,
    requestTimeoutMs: options.http.requestTimeoutMs,
    handle,
  });
  const http2 = createHttp2({
    settings: { maxConcurrentStreams: streamsPerSessionMax, enableConnectProtocol: false },
    maxSessionMemory: sessionMemoryMax,
  });
  http2.on("request", (request: Http2ServerRequest, response: Http2ServerResponse) => {
    const found = http2Fault(request);
    if (found) refuseHttp2(response, found);
    else handle(request, response);
  });
  http2.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  // The session ends its own connection; without a listener the error would end the process.
  http2.on("sessionError", () => undefined);

  const net = createNet({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 }, (socket: Socket) => {
    // A reset before anyone else listens must not end the process.
    socket.on("error", () => undefined);
    if (!connections.admit(socket)) {
      options.onRefused("too_many");
      socket.destroy();
      return;
    }
    peekProtocol(socket, clock, firstBytesMs, (protocol) => {
      if (protocol === "http1") http1.emit("connection", socket);
      else if (protocol === "http2") http2.emit("connection", socket);
      else {
        options.onRefused(protocol);
        socket.destroy();
      }
    });
  });
  const address = await listen(net, options.host, options.port);
  const stop = async () => {
    const closed = new Promise<void>((resolve) => net.close(() => resolve()));
    http1.closeIdleConnections();
    for (const session of sessions) session.close();
    await closed;
  };
  return {
    host: options.host,
    port: address.port,
    async drain(patienceMs) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = clock.setTimer(patienceMs, resolve);
      // Connections that finish their answer now are idle, not closed: look again until none is left.
      const sweep = setInterval(() => http1.closeIdleConnections(), 100);
      await Promise.race([stop(), promise]);
      clearInterval(sweep);
      timer.cancel();
    },
    async [Symbol.asyncDispose]() {
      net.close();
      connections.destroyAll();
      await connections.empty();
    },
  };
}

/**
 * Connections that may stand at the door until they are accepted; the system may hold it to less. At Node's 511 a burst
 * is turned away by the system, and its clients ask again after 1, 3 and 7 s.
 */
const backlog = 4_096;

/** Opens a server and tells where. */
export function listen(
  server: {
    listen(port: number, host: string, backlog: number, done: () => void): unknown;
    once: NodeJS.EventEmitter["once"];
    address(): AddressInfo | string | null;
  },
  host: string,
  port: number,
): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, backlog, () => {
      const address = server.address();
      if (typeof address === "object" && address !== null) resolve(address);
      else reject(new Error("the listener has no port"));
    });
  });
}

function refuseHttp2(response: Http2ServerResponse, found: FramingFault): void {
  const body = faultBody(found);
  response.writeHead(found.status, faultHeaders(body));
  response.end(body);
}
