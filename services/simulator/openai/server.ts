import { endWith, type HttpCall, type HttpServerOptions, openHttpServer } from "../http/server.ts";
import type { OpenServer } from "../listener.ts";
import { answer } from "./answer.ts";
import type { Manners } from "./manners.ts";
import { askedFrom } from "./request.ts";
import { isMembers, type Refusal } from "./rules.ts";
import { answerOnce } from "./unary-answer.ts";
import { unaryFrom } from "./unary-request.ts";

interface OpenAiServerOptions extends HttpServerOptions {
  readonly manners: Manners;
}

const kinds: Readonly<Record<string, "chat" | "completion">> = {
  "/v1/chat/completions": "chat",
  "/v1/completions": "completion",
};

/**
 * Serves /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings, /health, /version, metrics, and where the server
 * has them /v1/rerank and /tokenize, with the manners of one of OpenAI's kind.
 */
export function openOpenAiServer(options: OpenAiServerOptions): Promise<OpenServer> {
  return openHttpServer(options, (call) => {
    const kind = kinds[call.path];
    if (call.method === "GET") get(options, call);
    else if (options.manners.unaryPaths.includes(call.path)) call.readJson((body) => answerUnary(options, body, call));
    else if (kind !== undefined) call.readJson((body) => generate(options, kind, body, call));
    else call.send(404, { detail: "Not Found" });
  });
}

function answerUnary(options: OpenAiServerOptions, body: unknown, call: HttpCall): void {
  const { engine, models, manners, crash } = options;
  const asked =
    strangeIn(options, body, call) ?? unaryFrom(call.path, body, models, engine.speed.contextLength, manners);
  if ("status" in asked) return refuse(options, asked, call);
  endWith(call.response, answerOnce(engine, asked, call.id, call.response, manners, crash));
}

function generate(options: OpenAiServerOptions, kind: "chat" | "completion", body: unknown, call: HttpCall): void {
  const { engine, models, manners, clock, crash } = options;
  const asked =
    strangeIn(options, body, call) ?? askedFrom(kind, body, call.id, models, engine.speed.contextLength, manners);
  if ("status" in asked) return refuse(options, asked, call);
  endWith(call.response, answer(engine, asked, Math.floor(clock.nowMs() / 1_000), call.response, manners, crash));
}

function strangeIn({ manners }: OpenAiServerOptions, body: unknown, call: HttpCall): Refusal | undefined {
  return isMembers(body) ? manners.strange(call.path, body) : undefined;
}

function refuse({ manners }: OpenAiServerOptions, refusal: Refusal, call: HttpCall): void {
  call.send(refusal.status, manners.errorBody(refusal));
}

function get(options: OpenAiServerOptions, call: HttpCall): void {
  const { engine, models, clock, manners } = options;
  const { version, ownedBy, tellsModels, metricsPath } = manners;
  if (call.path === "/health") call.send(200, undefined);
  else if (call.path === "/version") call.send(200, { version });
  else if (call.path === metricsPath) call.sendText(200, "text/plain; version=0.0.4", metrics(options));
  else if (call.path === "/v1/models") {
    const created = Math.floor(clock.nowMs() / 1_000);
    const context = tellsModels ? { max_model_len: engine.speed.contextLength } : {};
    const card = { object: "model", created, owned_by: ownedBy, ...context };
    call.send(200, { object: "list", data: models.map((id) => ({ id, ...card })) });
  } else call.send(404, { detail: "Not Found" });
}

function metrics({ engine, models, manners }: OpenAiServerOptions): string {
  const labels = `{engine="0",model_name="${models[0] ?? ""}"}`;
  const gauges = manners.gauges(engine.load(), engine.speed.kvTokens);
  return gauges.map(([name, value]) => `# TYPE ${name} gauge\n${name}${labels} ${value}\n`).join("");
}
