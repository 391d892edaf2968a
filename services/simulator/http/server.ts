import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { Clock } from "../../runtime/clock.ts";
import type { Engine, Running } from "../engine.ts";
import { faultsFrom } from "../fault.ts";
import { listen, type OpenServer, trackSockets } from "../listener.ts";
import type { Recorder } from "../record.ts";

/** An HTTP side of the simulator. */
export interface HttpServerOptions {
  readonly engine: Engine;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly models: readonly string[];
  readonly host: string;
  readonly port: number;
  /** Ends the process, or everything of it that this simulator opened. */
  readonly crash: () => void;
}

/** One request, and how it is answered. */
export interface HttpCall {
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The caller's id of it, or one of ours. */
  readonly id: string;
  readonly response: ServerResponse;
  /** Reads the body; undefined stands for what is no JSON. An engine that never heard of a request has nothing to cancel. */
  readJson(then: (body: unknown) => void): void;
  /** Answers with JSON; undefined is an empty body. */
  send(status: number, body: unknown, headers?: Readonly<Record<string, string>>): void;
  sendText(status: number, type: string, text: string): void;
}

const bodyBytesMax = 64 * 1_048_576;

/** Opens a server. It answers /sim/faults and /sim/log itself, for tests; the rest is `handle`'s. */
export async function openHttpServer(
  options: HttpServerOptions,
  handle: (call: HttpCall) => void,
): Promise<OpenServer> {
  let ordinal = 0;
  const server = createServer({ noDelay: true, requestTimeout: 0 }, (request, response) => {
    const call = callOf(request, response, `sim-${ordinal++}`);
    if (call.path === "/sim/faults") call.readJson((body) => command(options.engine, body, call));
    else if (call.path === "/sim/log") call.send(200, { entries: options.recorder.entries() });
    else handle(call);
  });
  const sockets = trackSockets(server);
  const port = await listen(server, options.host, options.port);
  return {
    url: `http://${options.host}:${port}`,
    reset: () => {
      server.close();
      sockets.reset();
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      sockets.destroy();
      await closed;
    },
  };
}

/** Ends what runs when its caller leaves. It closes after its end too, when there is nothing left to cancel. */
export function endWith(response: ServerResponse, running: Running): void {
  response.once("close", () => running.cancel());
  if (response.closed) running.cancel();
}

function callOf(request: IncomingMessage, response: ServerResponse, otherwise: string): HttpCall {
  const given = request.headers["x-request-id"];
  const sendText = (status: number, type: string, text: string, headers = {}) => {
    response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(text), ...headers });
    response.end(text);
  };
  return {
    method: request.method ?? "",
    path: (request.url ?? "").split("?")[0] ?? "",
    headers: request.headers,
    id: typeof given === "string" ? given : otherwise,
    response,
    readJson: (then) => readJson(request, then),
    send: (status, body, headers = {}) =>
      sendText(status, "application/json", body === undefined ? "" : JSON.stringify(body), headers),
    sendText,
  };
}

function command(engine: Engine, body: unknown, call: HttpCall): void {
  const faults = faultsFrom(body);
  if (faults === undefined) {
    call.send(400, { detail: "give a fault, or a list of faults: {kind, after, ms}" });
    return;
  }
  engine.commanded.push(...faults);
  call.send(200, { commanded: engine.commanded.length });
}

function readJson(request: IncomingMessage, then: (body: unknown) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) request.destroy();
    else chunks.push(chunk);
  });
  request.on("end", () => then(parsed(Buffer.concat(chunks).toString("utf8"))));
}

/** Undefined for what is no JSON: it is answered like JSON of no use. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
