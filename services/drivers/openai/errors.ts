import { contextOverflow, isAway, isFull } from "../engine-text.ts";
import {
  contextFailure,
  credential,
  type Failure,
  failed,
  overloaded,
  protocol,
  refusal,
  unavailable,
} from "../failure.ts";
import { isObject, type JsonObject, parsed } from "./json.ts";

/** An error as some server worded it, in one form. */
export interface EngineError {
  readonly message: string;
  /** `type` and `code`, in lower case: servers put the same words into either. */
  readonly kind: string;
  /** The HTTP status that it states itself; 0 if none. */
  readonly status: number;
  /** The numbers that llama.cpp sends with an overflow of the context; empty if none. */
  readonly limit: string;
  readonly promptTokens: string;
}

/**
 * Finds the error in what a server sent: OpenAI's `{error: {...}}`, `{error: "text"}` (Ollama), vLLM's older
 * `{object: "error", message}`, FastAPI's `{detail}`. Undefined if there is none (also for `error: null`).
 */
export function engineErrorIn(json: unknown): EngineError | undefined {
  if (!isObject(json)) return undefined;
  const { error, detail } = json;
  if (isObject(error)) return engineError(error);
  if (typeof error === "string" && error !== "") return engineError({ message: error });
  if (json["object"] === "error") return engineError(json);
  if (typeof detail === "string") return engineError({ message: detail });
  if (Array.isArray(detail)) return engineError({ message: detail.map(detailText).join("; ") });
  return undefined;
}

function engineError(raw: JsonObject): EngineError {
  const { message, type, code } = raw;
  const words = [type, code].filter((word) => typeof word === "string").join(" ");
  const status = typeof code === "number" ? code : Number(code);
  return {
    message: typeof message === "string" ? message : "",
    kind: words.toLowerCase(),
    status: status >= 400 && status < 600 ? status : 0,
    limit: numberText(raw["n_ctx"]),
    promptTokens: numberText(raw["n_prompt_tokens"]),
  };
}

/** A validation error of FastAPI: where and what, without the caller's input that it repeats. */
function detailText(raw: unknown): string {
  if (!isObject(raw)) return "";
  const place = Array.isArray(raw["loc"]) ? raw["loc"].join(".") : "";
  return `${place}: ${typeof raw["msg"] === "string" ? raw["msg"] : "not acceptable"}`;
}

function numberText(value: unknown): string {
  return typeof value === "number" ? String(value) : "";
}

/** The head of an answer, as far as a failure wants to know of it. */
export interface FailedHead {
  readonly status: number;
  /** A field of it, by its name in lower case. */
  field(name: string): string | undefined;
}

/** What an answer other than 200 means. `nowMs` is the time of day, for a Retry-After that states one. */
export function failureFromResponse(head: FailedHead, body: string, nowMs: number): Failure {
  const retryAfterMs = retryAfter(head, nowMs);
  const error = engineErrorIn(parsed(body)) ?? { message: "", kind: "", status: 0, limit: "", promptTokens: "" };
  const failure = failureFromStatus(head.status, error);
  return failure.reason === overloaded.reason && retryAfterMs !== undefined ? { ...failure, retryAfterMs } : failure;
}

/** What an error inside a 200 means: by the status that it states, else by its words. */
export function failureFromError(error: EngineError): Failure {
  return failureFromStatus(error.status, error);
}

function failureFromStatus(status: number, error: EngineError): Failure {
  const text = `${error.kind} ${error.message}`;
  // Whatever stands in such a body may be the key itself.
  if (status === 401 || status === 403) return credential;
  const overflow = contextOverflow(text);
  if (overflow)
    return contextFailure({
      limit: error.limit || overflow.limit,
      promptTokens: error.promptTokens || overflow.promptTokens,
      maxTokens: overflow.maxTokens,
    });
  if (isAway(text)) return unavailable;
  if (status === 429 || status === 529 || isFull(text)) return overloaded;
  if (status === 404) return absent(text);
  if (status > 200 && status < 300) return protocol("an answer without content");
  if (status >= 300 && status < 400) return protocol("a redirect, which is not followed");
  if (status === 502 || status === 504) return unavailable;
  if (status === 503) return overloaded;
  if (status >= 500 || (status === 0 && !error.kind.includes("invalid"))) return failed(error.message);
  return refusal(error.message);
}

/** A server that has not the model (another may have it), or not the path. */
function absent(text: string): Failure {
  return /model/i.test(text) ? unavailable : protocol("404: it does not serve this path");
}

function retryAfter(head: FailedHead, nowMs: number): number | undefined {
  const milliseconds = Number(head.field("retry-after-ms") ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds;
  const text = head.field("retry-after");
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (seconds >= 0) return seconds * 1_000;
  const untilMs = Date.parse(text) - nowMs;
  return Number.isNaN(untilMs) ? undefined : Math.max(0, untilMs);
}
