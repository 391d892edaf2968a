import { endWith, type HttpCall, type HttpServerOptions, openHttpServer } from "../http/server.ts";
import type { OpenServer } from "../listener.ts";
import { isMembers } from "../openai/rules.ts";
import { countTokens } from "../text.ts";
import { AnthropicAnswer } from "./answer.ts";
import { promptFrom } from "./conversation.ts";
import { type AnthropicFailure, failureBody, invalid, missing } from "./failure.ts";
import { askedFrom } from "./request.ts";

/** A key that is not taken; every other one is. */
const badKey = "bad-key";

const unauthenticated: AnthropicFailure = {
  status: 401,
  type: "authentication_error",
  message: "invalid x-api-key",
};

/** Serves /v1/messages, its counts and /v1/models as Anthropic's API does, to whoever has a key. */
export function openAnthropicServer(options: HttpServerOptions): Promise<OpenServer> {
  return openHttpServer(options, (call) => {
    const refusal = refusalOf(call);
    if (refusal) fail(call, refusal);
    else if (call.method === "GET" && call.path === "/v1/models") listModels(options, call);
    else if (call.method === "POST" && call.path === "/v1/messages")
      call.readJson((body) => generate(options, body, call));
    else if (call.method === "POST" && call.path === "/v1/messages/count_tokens")
      call.readJson((body) => count(options, body, call));
    else fail(call, { status: 404, type: "not_found_error", message: "Not Found" });
  });
}

function refusalOf({ headers }: HttpCall): AnthropicFailure | undefined {
  const key = headers["x-api-key"] ?? headers.authorization?.replace(/^Bearer /, "");
  if (key === undefined || key === "" || key === badKey) return unauthenticated;
  return headers["anthropic-version"] === undefined ? invalid("anthropic-version: header is required") : undefined;
}

function generate({ engine, models, crash }: HttpServerOptions, body: unknown, call: HttpCall): void {
  const asked = askedFrom(body, call.id, models, engine.speed.contextLength);
  if ("status" in asked) return fail(call, asked);
  const answer = new AnthropicAnswer(asked, call, crash);
  const running = engine.run(asked.job, answer);
  answer.running = running;
  endWith(call.response, running);
}

function count({ models }: HttpServerOptions, body: unknown, call: HttpCall): void {
  const { model, system, messages, tools } = isMembers(body) ? body : {};
  if (typeof model !== "string" || !models.includes(model)) return fail(call, missing(model));
  const prompt = promptFrom(system, messages);
  if (typeof prompt === "object") return fail(call, prompt);
  call.send(200, { input_tokens: countTokens(prompt + (tools === undefined ? "" : JSON.stringify(tools))) });
}

function listModels({ models, engine, clock }: HttpServerOptions, call: HttpCall): void {
  const created_at = new Date(clock.nowMs()).toISOString();
  const max_input_tokens = engine.speed.contextLength;
  const data = models.map((id) => ({ type: "model", id, display_name: id, created_at, max_input_tokens }));
  call.send(200, { data, has_more: false, first_id: models[0] ?? null, last_id: models.at(-1) ?? null });
}

function fail(call: HttpCall, failure: AnthropicFailure): void {
  call.send(failure.status, failureBody(failure, call.id), { "request-id": `req_${call.id}` });
}
