import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** One request to generate, in the hands of the test. */
export interface FakeExchange {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
  readonly response: ServerResponse;
  readonly socket: Socket;
  /** Whether the client closed the connection before the answer was over. */
  readonly left: Promise<void>;
  /** Sends the head of an event stream. */
  startStream(contentType?: string): void;
  /** Sends an event with this JSON. */
  event(json: unknown): void;
  /** Sends [DONE] and ends the response. */
  done(): void;
}

export interface FakeHttpOptions {
  /** Answers POSTs. */
  generate?(exchange: FakeExchange): void;
  /** Answers of GET paths, as JSON, as text or by a function; others are 404. */
  routes: Readonly<Record<string, unknown>>;
  /** Answers of POST paths that do not generate, in the same way. */
  questions?: Readonly<Record<string, unknown>>;
}

/** An HTTP server whose every byte the test decides. */
export interface FakeHttp extends AsyncDisposable {
  readonly url: string;
  readonly requests: FakeExchange[];
  /** Paths that were asked by GET. */
  readonly asked: string[];
  /** Connections that are open now. */
  readonly connections: ReadonlySet<Socket>;
}

/** Starts one on a port of its own. */
export async function startFakeHttp(options: FakeHttpOptions): Promise<FakeHttp> {
  const requests: FakeExchange[] = [];
  const asked: string[] = [];
  const connections = new Set<Socket>();
  const { routes, questions = {} } = options;
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    if (request.method === "GET") {
      asked.push(path);
      return answer(response, routes[path]);
    }
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (path in questions) return answer(response, questions[path]);
      const text = Buffer.concat(chunks).toString();
      const exchange = exchangeOf(path, request.headers, JSON.parse(text), response, request.socket);
      requests.push(exchange);
      options.generate?.(exchange);
    });
  });
  server.on("connection", (socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    asked,
    connections,
    async [Symbol.asyncDispose]() {
      for (const socket of connections) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(response: ServerResponse, route: unknown): void {
  if (typeof route === "function") return route(response);
  if (route === undefined)
    response.writeHead(404, { "content-type": "application/json" }).end('{"detail":"Not Found"}');
  else if (typeof route === "string") response.writeHead(200, { "content-type": "text/plain" }).end(route);
  else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(route));
}

function exchangeOf(
  path: string,
  headers: IncomingHttpHeaders,
  body: Record<string, unknown>,
  response: ServerResponse,
  socket: Socket,
): FakeExchange {
  return {
    path,
    headers,
    body,
    response,
    socket,
    left: new Promise((resolve) => {
      response.on("close", () => {
        if (!response.writableFinished) resolve();
      });
    }),
    startStream: (contentType = "text/event-stream") => void response.writeHead(200, { "content-type": contentType }),
    event: (json) => void response.write(`data: ${JSON.stringify(json)}\n\n`),
    done: () => void response.end("data: [DONE]\n\n"),
  };
}
