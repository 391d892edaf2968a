import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../runtime/clock.ts";
import type { Engine } from "../engine.ts";
import { type Fault, faultKinds } from "../fault.ts";
import type { Recorder } from "../record.ts";
import { answer } from "./answer.ts";
import { askedFrom } from "./request.ts";

/** The HTTP side of the simulator. */
export interface OpenAiServerOptions {
  readonly engine: Engine;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly models: readonly string[];
  readonly host: string;
  readonly port: number;
  /** Ends the process, or everything of it that this simulator opened. */
  readonly crash: () => void;
}

/** A server that is open. */
export interface OpenServer extends AsyncDisposable {
  readonly url: string;
}

const bodyBytesMax = 64 * 1_048_576;

/** Serves /v1/models, /v1/chat/completions, /v1/completions, /health, and /sim/faults and /sim/log for tests. */
export async function openOpenAiServer(options: OpenAiServerOptions): Promise<OpenServer> {
  let ordinal = 0;
  const server = createServer({ noDelay: true, requestTimeout: 0 }, (request, response) => {
    const path = (request.url ?? "").split("?")[0];
    const send = (status: number, body: unknown) => sendJson(response, status, body);
    if (request.method === "GET") get(options, path, send);
    else if (path === "/v1/chat/completions" || path === "/v1/completions") {
      const kind = path === "/v1/completions" ? "completion" : "chat";
      // An engine that never heard of the request has nothing to cancel: the body must be there first.
      readJson(request, (body) => {
        const given = request.headers["x-request-id"];
        const asked = askedFrom(
          kind,
          body,
          typeof given === "string" ? given : `sim-${ordinal++}`,
          options.models,
          options.engine.speed.contextLength,
        );
        if ("status" in asked) {
          send(asked.status, { error: { message: asked.message, type: asked.type, param: null, code: asked.status } });
          return;
        }
        const running = answer(
          options.engine,
          asked,
          Math.floor(options.clock.nowMs() / 1000),
          response,
          options.crash,
        );
        response.once("close", () => running.cancel());
      });
    } else if (path === "/sim/faults") {
      readJson(request, (body) => send(200, { commanded: command(options.engine, body) }));
    } else send(404, { detail: "Not Found" });
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      const address: AddressInfo | string | null = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  return {
    url: `http://${options.host}:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function get(
  { engine, models, recorder, clock }: OpenAiServerOptions,
  path: string | undefined,
  send: (status: number, body: unknown) => void,
): void {
  const created = Math.floor(clock.nowMs() / 1000);
  if (path === "/health") send(200, {});
  else if (path === "/v1/models") {
    const data = models.map((id) => ({
      id,
      object: "model",
      created,
      owned_by: "weir-simulator",
      max_model_len: engine.speed.contextLength,
    }));
    send(200, { object: "list", data });
  } else if (path === "/sim/log") send(200, { entries: recorder.entries() });
  else send(404, { detail: "Not Found" });
}

function command(engine: Engine, body: unknown): number {
  const faults = Array.isArray(body) ? body : [body];
  for (const given of faults) {
    const kind = faultKinds.find((each) => each === given?.kind);
    if (kind === undefined) continue;
    const fault: Fault = { kind, after: Number(given.after ?? 0), ms: Number(given.ms ?? 1_000) };
    engine.commanded.push(fault);
  }
  return engine.commanded.length;
}

function readJson(request: IncomingMessage, then: (body: unknown) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bodyBytesMax) request.destroy();
    else chunks.push(chunk);
  });
  request.on("end", () => {
    try {
      then(JSON.parse(Buffer.concat(chunks).toString("utf8")));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      // No JSON is answered like JSON of no use.
      then(undefined);
    }
  });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}
