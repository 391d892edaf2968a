import type {
  CountTokensRequest,
  EmbedRequest,
  RerankRequest,
} from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Target } from "../driver.ts";
import type { Failure } from "../failure.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { requestWithBody } from "../http1/request.ts";
import {
  BadAnswer,
  type CountAttempt,
  countFrom,
  judged,
  scoresFrom,
  type UnaryAttempt,
  type UnaryDriver,
} from "../unary.ts";
import type { Connection } from "../http/connection.ts";
import { type AskEmbeddings, embedAtOpenAi } from "./embedding.ts";
import { type Flavour, flavourNamed } from "./flavours.ts";
import { isObject, type JsonObject, parsed } from "../http/json.ts";
import { openaiMessage } from "./messages.ts";
import { postJson } from "../http/post.ts";
import { engineErrorIn, failureFromError, failureFromResponse } from "./errors.ts";
import { openaiTool } from "./tools.ts";
import { promptTokensOf } from "./usage.ts";

type Body = Readonly<Record<string, unknown>>;

/** Embedding, ranking and counting over HTTP. */
export function openaiUnary(connection: Connection, target: Target): Required<UnaryDriver> {
  async function ask(
    head: string,
    body: Body,
    feature: string,
    attempt: UnaryAttempt<Asking>,
    signal: AbortSignal,
    requestId = attempt.id,
  ) {
    const request = requestWithBody(head, requestId, JSON.stringify(body));
    const about = { http: connection.http, target, request, model: attempt.request.model };
    const refused = (answered: ResponseHead, text: string): Failure =>
      lacks(answered.status, text)
        ? { reason: ErrorReason.UNSUPPORTED, metadata: { param: "model", feature } }
        : failureFromResponse(answered, text, target.clock.nowMs());
    return await postJson({ ...about, refused, errorIn: failureIn }, signal);
  }

  return {
    embed: (attempt, signal) =>
      judged(attempt, target, () => {
        const head = connection.post("/embeddings", json);
        const askThem: AskEmbeddings = (body, requestId, ends) =>
          ask(head, body, "embeddings", attempt, ends, requestId);
        return embedAtOpenAi(askThem, target, attempt, signal);
      }),
    rerank: (attempt, signal) =>
      judged(attempt, target, async () => {
        const body = withExtras(rerankBody(attempt), attempt);
        const answer = await ask(connection.post("/rerank", json), body, "reranking", attempt, signal);
        return { scores: scoresFrom(attempt.request.documents.length, found(answer)), tokens: promptTokensOf(answer) };
      }),
    countTokens: (attempt, signal) =>
      judged(attempt, target, async () => {
        const flavour = flavourNamed(attempt.model.flavour);
        const question = (path: string, body: Body) =>
          ask(connection.postRoot(path), body, "counting tokens", attempt, signal);
        if (flavour.tokenizes === "content") return await countContent(attempt, flavour, question);
        return countFrom(countOf(await question("/tokenize", tokenizeBody(attempt, flavour))));
      }),
  };
}

/**
 * Whether the server says that it, or its model, does no such thing. Servers do not tell before: one binary serves models
 * that generate and models that embed, and each has the paths of both, or answers 404 to those of the other.
 */
function lacks(status: number, text: string): boolean {
  if (status === 405 || status === 501) return true;
  if (status === 404) return !/model/i.test(engineErrorIn(parsed(text))?.message ?? "");
  return status === 400 && /does not support|not supported by|is not an? (?:embedding|rerank)/i.test(text);
}

function failureIn(json: unknown): Failure | undefined {
  const error = engineErrorIn(json);
  return error && failureFromError(error);
}

type Asking = EmbedRequest | RerankRequest | CountTokensRequest;

const json = "application/json";

/** The caller's own members replace none of ours. */
function withExtras(body: Body, { extras }: UnaryAttempt<Asking>): Body {
  return { ...extras, ...body };
}

/** All scores are asked for: a server that leaves one out is found out. */
function rerankBody({ request, model }: UnaryAttempt<RerankRequest>): Body {
  const { query, documents } = request;
  return { model: model.engineModel, query, documents, return_documents: false };
}

/** As Jina's API has it, and most servers; SGLang answers with the list alone. */
function found(answer: unknown): { index: unknown; score: unknown }[] {
  const results: unknown = isObject(answer) ? answer["results"] : answer;
  if (!Array.isArray(results) || !results.every(isObject)) throw new BadAnswer("an answer without results");
  return results.map((one, at) => ({ index: one["index"] ?? at, score: one["relevance_score"] ?? one["score"] }));
}

function tokenizeBody(attempt: CountAttempt, flavour: Flavour): Body {
  const { request, model, prompt } = attempt;
  const { input } = request;
  if (input.case !== "conversation" || prompt !== undefined) {
    // A template has written the model's own marks already.
    const special = prompt === undefined;
    return { model: model.engineModel, prompt: textOf(attempt), add_special_tokens: special };
  }
  return { model: model.engineModel, ...conversationOf(request, flavour), add_generation_prompt: true };
}

/** llama.cpp applies a template and tokenises in two steps. */
async function countContent(
  attempt: CountAttempt,
  flavour: Flavour,
  ask: (path: string, body: Body) => Promise<unknown>,
): Promise<number> {
  const { request, prompt } = attempt;
  let content = textOf(attempt);
  if (request.input.case === "conversation" && prompt === undefined) {
    const templated = await ask("/apply-template", conversationOf(request, flavour));
    const text = isObject(templated) ? templated["prompt"] : undefined;
    if (typeof text !== "string") throw new BadAnswer("a template's answer without a prompt");
    content = text;
  }
  const answer = await ask("/tokenize", { content, add_special: true, parse_special: true });
  const tokens = isObject(answer) ? answer["tokens"] : undefined;
  if (!Array.isArray(tokens)) throw new BadAnswer("an answer without tokens");
  return tokens.length;
}

function textOf({ request: { input }, prompt }: CountAttempt): string {
  return input.case === "prompt" ? input.value : (prompt ?? "");
}

function conversationOf({ input, tools }: CountTokensRequest, flavour: Flavour): Body {
  const messages =
    input.case === "conversation" ? input.value.messages.map((message) => openaiMessage(message, flavour)) : [];
  return tools.length === 0 ? { messages } : { messages, tools: tools.map(openaiTool) };
}

function countOf(answer: unknown): unknown {
  const told: JsonObject = isObject(answer) ? answer : {};
  return told["count"] ?? (Array.isArray(told["tokens"]) ? told["tokens"].length : undefined);
}
