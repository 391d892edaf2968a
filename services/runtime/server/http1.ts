import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { type FramingFault, faultBody, faultHeaders, framingFault, parserFault, rawAnswer } from "./framing.ts";

/** Bounds of HTTP/1.1 on the public port, in milliseconds. */
export interface Http1Options {
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Takes a request that is well framed. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
}

/** All headers of one request together. */
const headerBytesMax = 16_384;
/** Longer than common proxies keep a connection, so that they and not we close it: no request meets a closing one. */
const keepAliveTimeoutMs = 75_000;
/** How often Node looks for connections that are over their time. */
const checkIntervalMs = 1_000;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** An HTTP/1.1 server that is handed its sockets, and whose every refusal is a JSON body. */
export function createHttp1(options: Http1Options): Server {
  const running = new WeakMap<Duplex, Exchange[]>();
  const server = createServer(
    {
      maxHeaderSize: headerBytesMax,
      headersTimeout: options.headersTimeoutMs,
      requestTimeout: options.requestTimeoutMs,
      connectionsCheckingInterval: checkIntervalMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      requireHostHeader: false,
      noDelay: true,
    },
    (request, response) => {
      track(running, { request, response });
      const found = framingFault(request);
      if (found) refuse(response, found);
      else options.handle(request, response);
    },
  );
  server.maxHeadersCount = 0;
  server.timeout = 0;
  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    refuse(response, {
      status: 417,
      code: "expectation_failed",
      message: "Only `Expect: 100-continue` is understood.",
    });
  });
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    socket.end(rawAnswer({ status: 405, code: "method_not_allowed", message: "This is no proxy." }));
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) =>
    onParserFault(owedOf(running.get(socket) ?? []), error, socket),
  );
  // A server that never listens itself checks no timeouts until it believes that it does.
  server.emit("listening");
  return server;
}

function track(running: WeakMap<Duplex, Exchange[]>, exchange: Exchange): void {
  const { socket } = exchange.request;
  const list = running.get(socket);
  if (list === undefined) running.set(socket, [exchange]);
  // Nearly always the one before is over: a listener to each one's end would be made for nothing.
  else if (list.length === 1 && list[0]?.response.closed) list[0] = exchange;
  else running.set(socket, [...owedOf(list), exchange]);
}

function owedOf(list: readonly Exchange[]): readonly Exchange[] {
  return list.filter(({ response }) => !response.closed);
}

/** Answers bytes that are no HTTP: after the answers that are still owed, never in the middle of one. */
function onParserFault(owed: readonly Exchange[], error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const found = parserFault(error);
  const last = owed.at(-1);
  if (last === undefined) {
    socket.end(rawAnswer(found));
  } else if (last.request.complete) {
    last.response.once("close", () => socket.end(rawAnswer(found)));
  } else if (last.response.headersSent) {
    socket.destroy();
  } else {
    refuse(last.response, found);
  }
}

/** Answers a request that is refused for its framing, and ends the connection: what follows cannot be trusted. */
function refuse(response: ServerResponse, found: FramingFault): void {
  const body = faultBody(found);
  response.writeHead(found.status, { ...faultHeaders(body), connection: "close" });
  response.end(body);
}
