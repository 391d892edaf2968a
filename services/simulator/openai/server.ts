import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Clock } from "../../runtime/clock.ts";
import type { Engine, Running } from "../engine.ts";
import { faultsFrom } from "../fault.ts";
import { listen, type OpenServer, trackSockets } from "../listener.ts";
import type { Recorder } from "../record.ts";
import { answer } from "./answer.ts";
import { askedFrom } from "./request.ts";
import { answerOnce } from "./unary-answer.ts";
import { unaryFrom, unaryPaths } from "./unary-request.ts";

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

const bodyBytesMax = 64 * 1_048_576;

/** What vLLM would call itself. */
const version = "0.11.0+weir.simulator";

type Send = (status: number, body: unknown) => void;

/**
 * Serves /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/rerank, /tokenize, /health, /version and
 * /metrics as vLLM does, and /sim/faults and /sim/log for tests.
 */
export async function openOpenAiServer(options: OpenAiServerOptions): Promise<OpenServer> {
  let ordinal = 0;
  const server = createServer({ noDelay: true, requestTimeout: 0 }, (request, response) => {
    const path = (request.url ?? "").split("?")[0];
    const send: Send = (status, body) =>
      sendText(response, status, "application/json", body === undefined ? "" : JSON.stringify(body));
    if (request.method === "GET") get(options, path, response, send);
    else if (path !== undefined && path in unaryPaths) {
      const id = idOf(request, `sim-${ordinal++}`);
      readJson(request, (body) => answerUnary(options, path, id, body, response, send));
    } else if (path === "/v1/chat/completions" || path === "/v1/completions") {
      const id = idOf(request, `sim-${ordinal++}`);
      const kind = path === "/v1/completions" ? "completion" : "chat";
      // An engine that never heard of the request has nothing to cancel: the body must be there first.
      readJson(request, (body) => generate(options, kind, id, body, response, send));
    } else if (path === "/sim/faults") readJson(request, (body) => command(options.engine, body, send));
    else send(404, { detail: "Not Found" });
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

function idOf(request: IncomingMessage, otherwise: string): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" ? given : otherwise;
}

function answerUnary(
  { engine, models, crash }: OpenAiServerOptions,
  path: string,
  id: string,
  body: unknown,
  response: ServerResponse,
  send: Send,
): void {
  const asked = unaryFrom(path, body, models, engine.speed.contextLength);
  if ("status" in asked) {
    const { status, message, type } = asked;
    send(status, { error: { message, type, param: null, code: status } });
    return;
  }
  endWith(response, answerOnce(engine, asked, id, response, crash));
}

/** Who leaves is not answered any more. */
function endWith(response: ServerResponse, running: Running): void {
  // It closes after its end too, when there is nothing left to cancel.
  response.once("close", () => running.cancel());
  if (response.closed) running.cancel();
}

function generate(
  { engine, models, clock, crash }: OpenAiServerOptions,
  kind: "chat" | "completion",
  id: string,
  body: unknown,
  response: ServerResponse,
  send: Send,
): void {
  const asked = askedFrom(kind, body, id, models, engine.speed.contextLength);
  if ("status" in asked) {
    const { status, message, type } = asked;
    send(status, { error: { message, type, param: null, code: status } });
    return;
  }
  endWith(response, answer(engine, asked, Math.floor(clock.nowMs() / 1_000), response, crash));
}

function get(
  { engine, models, recorder, clock }: OpenAiServerOptions,
  path: string | undefined,
  response: ServerResponse,
  send: Send,
): void {
  if (path === "/health") send(200, undefined);
  else if (path === "/version") send(200, { version });
  else if (path === "/metrics") sendText(response, 200, "text/plain; version=0.0.4", metrics(engine, models));
  else if (path === "/v1/models") {
    const created = Math.floor(clock.nowMs() / 1_000);
    const card = { object: "model", created, owned_by: "vllm", max_model_len: engine.speed.contextLength };
    send(200, { object: "list", data: models.map((id) => ({ id, ...card })) });
  } else if (path === "/sim/log") send(200, { entries: recorder.entries() });
  else send(404, { detail: "Not Found" });
}

function metrics(engine: Engine, models: readonly string[]): string {
  const { running, waiting, kvTokens } = engine.load();
  const labels = `{engine="0",model_name="${models[0] ?? ""}"}`;
  const gauges = [
    ["vllm:num_requests_running", running],
    ["vllm:num_requests_waiting", waiting],
    ["vllm:kv_cache_usage_perc", kvTokens / engine.speed.kvTokens],
  ] as const;
  return gauges.map(([name, value]) => `# TYPE ${name} gauge\n${name}${labels} ${value}\n`).join("");
}

function command(engine: Engine, body: unknown, send: Send): void {
  const faults = faultsFrom(body);
  if (faults === undefined) {
    send(400, { detail: "give a fault, or a list of faults: {kind, after, ms}" });
    return;
  }
  engine.commanded.push(...faults);
  send(200, { commanded: engine.commanded.length });
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

function sendText(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(text) });
  response.end(text);
}
