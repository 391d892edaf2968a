import type { Engine } from "../engine.ts";
import { endWith, type HttpCall, type HttpServerOptions, openHttpServer } from "../http/server.ts";
import type { OpenServer } from "../listener.ts";
import { answer } from "./answer.ts";
import { askedFrom } from "./request.ts";
import { answerOnce } from "./unary-answer.ts";
import { unaryFrom, unaryPaths } from "./unary-request.ts";

/** What vLLM would call itself: the version whose Python front end is simulated. */
const version = "0.32.0+weir.simulator";

const kinds: Readonly<Record<string, "chat" | "completion">> = {
  "/v1/chat/completions": "chat",
  "/v1/completions": "completion",
};

/**
 * Serves /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/rerank, /tokenize, /health, /version and
 * /metrics as vLLM does.
 */
export function openOpenAiServer(options: HttpServerOptions): Promise<OpenServer> {
  return openHttpServer(options, (call) => {
    const kind = kinds[call.path];
    if (call.method === "GET") get(options, call);
    else if (call.path in unaryPaths) call.readJson((body) => answerUnary(options, body, call));
    else if (kind !== undefined) call.readJson((body) => generate(options, kind, body, call));
    else call.send(404, { detail: "Not Found" });
  });
}

function answerUnary({ engine, models, crash }: HttpServerOptions, body: unknown, call: HttpCall): void {
  const asked = unaryFrom(call.path, body, models, engine.speed.contextLength);
  if ("status" in asked) {
    const { status, message, type } = asked;
    call.send(status, { error: { message, type, param: null, code: status } });
    return;
  }
  endWith(call.response, answerOnce(engine, asked, call.id, call.response, crash));
}

function generate(
  { engine, models, clock, crash }: HttpServerOptions,
  kind: "chat" | "completion",
  body: unknown,
  call: HttpCall,
): void {
  const asked = askedFrom(kind, body, call.id, models, engine.speed.contextLength);
  if ("status" in asked) {
    const { status, message, type } = asked;
    call.send(status, { error: { message, type, param: null, code: status } });
    return;
  }
  endWith(call.response, answer(engine, asked, Math.floor(clock.nowMs() / 1_000), call.response, crash));
}

function get({ engine, models, clock }: HttpServerOptions, call: HttpCall): void {
  if (call.path === "/health") call.send(200, undefined);
  else if (call.path === "/version") call.send(200, { version });
  else if (call.path === "/metrics") call.sendText(200, "text/plain; version=0.0.4", metrics(engine, models));
  else if (call.path === "/v1/models") {
    const created = Math.floor(clock.nowMs() / 1_000);
    const card = { object: "model", created, owned_by: "vllm", max_model_len: engine.speed.contextLength };
    call.send(200, { object: "list", data: models.map((id) => ({ id, ...card })) });
  } else call.send(404, { detail: "Not Found" });
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
