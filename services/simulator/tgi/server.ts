import type { Engine } from "../engine.ts";
import { endWith, type HttpCall, type HttpServerOptions, openHttpServer } from "../http/server.ts";
import type { OpenServer } from "../listener.ts";
import { countTokens } from "../text.ts";
import { isMembers } from "../openai/rules.ts";
import { answerFailure, TgiAnswer } from "./answer.ts";
import { chatProblem } from "./chat-form.ts";
import { promptOfChat } from "./chat-prompt.ts";
import { invalid, type TgiFailure } from "./errors.ts";
import { type Asked, askedToChat, askedToGenerate, stopsMax } from "./request.ts";
import { chatErrors, chatShape, type ErrorShape, generateErrors, generateShape, type Shape } from "./shapes.ts";

/** What TGI would call itself. */
const version = "3.3.7-simulator";

/** Serves the paths of TGI for the first of the models. */
export function openTgiServer(options: HttpServerOptions): Promise<OpenServer> {
  const model = options.models[0] ?? "weir-sim";
  return openHttpServer(options, (call) => {
    if (call.method === "GET") get(options, model, call);
    else if (call.path === "/generate" || call.path === "/generate_stream")
      call.readJson((body) => generate(options, model, body, call));
    else if (call.path === "/v1/chat/completions") readChat(call, (body) => chat(options, model, body, call));
    else if (call.path === "/tokenize") call.readJson((body) => tokenize(body, call));
    else if (call.path === "/chat_tokenize") readChat(call, (body) => chatTokenize(body, call));
    else call.send(404, undefined);
  });
}

/** What is no chat is refused by the parser, before anything is begun. */
function readChat(call: HttpCall, read: (body: unknown) => void): void {
  call.readJson((body) => {
    const problem = chatProblem(body);
    if (problem === undefined) return read(body);
    const text = `Failed to deserialize the JSON body into the target type: ${problem}`;
    call.sendText(422, "text/plain; charset=utf-8", text);
  });
}

function generate(options: HttpServerOptions, model: string, body: unknown, call: HttpCall): void {
  const streams = call.path === "/generate_stream";
  const asked = askedToGenerate(body, model, options.engine.speed.contextLength);
  if ("error" in asked) return refuse(call, asked, streams, generateErrors);
  run(options, call, asked, streams, generateShape(asked));
}

function chat(options: HttpServerOptions, model: string, body: unknown, call: HttpCall): void {
  const streams = isMembers(body) && body["stream"] === true;
  const asked = askedToChat(body, model, options.engine.speed.contextLength);
  if ("error" in asked) return refuse(call, asked, streams, chatErrors);
  run(options, call, asked, streams, chatShape(asked, Math.floor(options.clock.nowMs() / 1_000)));
}

/** In a stream all errors come as events, after a good status. */
function refuse({ response }: HttpCall, failure: TgiFailure, streams: boolean, shape: ErrorShape): void {
  if (streams) response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
  answerFailure(response, failure, shape);
}

function run({ engine, crash }: HttpServerOptions, call: HttpCall, asked: Asked, streams: boolean, shape: Shape): void {
  const { response } = call;
  const answer = new TgiAnswer(asked, streams, shape, response, crash);
  const running = engine.run({ ...asked.job, id: call.id }, answer);
  answer.running = running;
  endWith(response, running);
}

function chatTokenize(body: unknown, call: HttpCall): void {
  const text = isMembers(body) ? promptOfChat(body) : undefined;
  if (text === undefined) {
    const { status, ...error } = invalid("`inputs` cannot be empty");
    return call.send(status, error);
  }
  call.send(200, { tokenize_response: tokensIn(text), templated_text: text });
}

function tokenize(body: unknown, call: HttpCall): void {
  const text = isMembers(body) ? body["inputs"] : undefined;
  if (typeof text === "string") return call.send(200, tokensIn(text));
  const { status, ...error } = invalid("missing field `inputs`");
  call.send(status, error);
}

/** As many as it counts when it generates; where each begins is nobody's question here. */
function tokensIn(text: string): object[] {
  return Array.from({ length: countTokens(text) }, (_, id) => ({ id, text: "", start: 0, stop: 0 }));
}

function get({ engine }: HttpServerOptions, model: string, call: HttpCall): void {
  const { contextLength, waitingMax, slots } = engine.speed;
  if (call.path === "/health" || call.path === "/ping") call.send(200, undefined);
  else if (call.path === "/metrics") call.sendText(200, "text/plain; version=0.0.4", metrics(engine));
  else if (call.path === "/v1/models")
    call.send(200, { object: "list", data: [{ id: model, object: "model", created: 0, owned_by: model }] });
  else if (call.path === "/info")
    call.send(200, {
      model_id: model,
      model_sha: null,
      model_pipeline_tag: "text-generation",
      max_concurrent_requests: slots + waitingMax,
      max_best_of: 2,
      max_stop_sequences: stopsMax,
      max_input_tokens: contextLength - 1,
      max_total_tokens: contextLength,
      validation_workers: 2,
      max_client_batch_size: 4,
      router: "text-generation-router",
      version,
      sha: null,
      docker_label: null,
    });
  else call.send(404, undefined);
}

function metrics(engine: Engine): string {
  const { running, waiting, kvTokens } = engine.load();
  const gauges = [
    ["tgi_batch_current_size", running],
    ["tgi_queue_size", waiting],
    ["tgi_batch_current_max_tokens", kvTokens],
    ["tgi_batch_max_total_tokens", engine.speed.kvTokens],
  ] as const;
  return gauges.map(([name, value]) => `# TYPE ${name} gauge\n${name} ${value}\n`).join("");
}
