import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { HttpRequest, HttpResponse } from "./app.ts";
import type { Listener } from "./public.ts";
import { listen } from "./public.ts";

/** What the admin listener tells. */
export interface AdminServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly log: Logger;
  /** The metrics in Prometheus' text form. */
  readonly metrics: () => Promise<string>;
  /** What is not ready, by name; empty when everything is. */
  readonly notReady: () => Readonly<Record<string, string>>;
  /** Serves the RPCs of the admin audience. */
  readonly rpc: (request: HttpRequest, response: HttpResponse) => void;
}

/** Opens health and metrics: /livez, /readyz, /metrics. Never on the public port. */
export async function openAdminServer(options: AdminServerOptions): Promise<Listener> {
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000, maxHeaderSize: 16_384 },
    (request, response) => {
      // A rejection that nobody takes would end the process.
      answer(options, request, response).catch((err: unknown) => {
        options.log.error({ err }, "a request to the admin listener failed");
        response.destroy();
      });
    },
  );
  const address = await listen(server, options.host, options.port);
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { host: options.host, port: address.port, drain: close, [Symbol.asyncDispose]: close };
}

async function answer(options: AdminServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path] = (request.url ?? "").split("?");
  if (request.method !== "GET" && request.method !== "HEAD") {
    options.rpc(request, response);
  } else if (path === "/livez") {
    send(response, 200, "text/plain", "ok\n");
  } else if (path === "/readyz") {
    const waiting = options.notReady();
    const ready = Object.keys(waiting).length === 0;
    send(response, ready ? 200 : 503, "application/json", `${JSON.stringify({ ready, waiting })}\n`);
  } else if (path === "/metrics") {
    send(response, 200, "text/plain; version=0.0.4; charset=utf-8", await options.metrics());
  } else {
    send(response, 404, "text/plain", "known here: /livez /readyz /metrics\n");
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(body);
}
