import { contextOverflow, heard, isAway, isDead, isFull } from "../engine-text.ts";
import {
  contextFailure,
  credential,
  type Failure,
  failed,
  lost,
  overloaded,
  refusal,
  unavailable,
} from "../failure.ts";
import { isObject, type JsonObject, parsed } from "../http/json.ts";
import { type FailedHead, failureFromHttpStatus, isCredentialStatus, withRetryAfter } from "../http/status.ts";
import { withReset } from "./rate-limit.ts";

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
  // A code may be any JSON, also what no number can be made of.
  const status = typeof code === "number" || typeof code === "string" ? Number(code) : 0;
  return {
    message: typeof message === "string" ? heard(message) : "",
    kind: heard(words).toLowerCase(),
    status: status >= 400 && status < 600 ? status : 0,
    limit: numberText(raw["n_ctx"]),
    promptTokens: numberText(raw["n_prompt_tokens"]),
  };
}

/** A validation error of FastAPI: where and what, without the caller's input that it repeats. */
function detailText(raw: unknown): string {
  if (!isObject(raw)) return "";
  const steps: readonly unknown[] = Array.isArray(raw["loc"]) ? raw["loc"] : [];
  const place = steps.filter((step) => typeof step === "string" || typeof step === "number").join(".");
  return `${place}: ${typeof raw["msg"] === "string" ? raw["msg"] : "not acceptable"}`;
}

function numberText(value: unknown): string {
  return typeof value === "number" ? String(value) : "";
}

/** What an answer other than 200 means. `nowMs` is the time of day, for a Retry-After that states one. */
export function failureFromResponse(head: FailedHead, body: string, nowMs: number): Failure {
  const error = engineErrorIn(parsed(body)) ?? { message: "", kind: "", status: 0, limit: "", promptTokens: "" };
  return withReset(withRetryAfter(failureOf(head.status, error), head, nowMs), head);
}

/** What an error inside a 200 means: by the status that it states, else by its words. */
export function failureFromError(error: EngineError): Failure {
  return failureOf(error.status, error);
}

/** What a hosted API says of our account, as if it were an overload: it does not pass. */
const ofTheAccount = /insufficient_quota|billing_hard_limit_reached|account_deactivated/;

function failureOf(status: number, error: EngineError): Failure {
  const text = `${error.kind} ${error.message}`;
  // Whatever stands in such a body may be the key itself.
  if (isCredentialStatus(status) || ofTheAccount.test(error.kind)) return credential;
  const overflow = contextOverflow(text);
  if (overflow)
    return contextFailure({
      limit: error.limit || overflow.limit,
      promptTokens: error.promptTokens || overflow.promptTokens,
      maxTokens: overflow.maxTokens,
    });
  if (isAway(text)) return unavailable;
  if (isFull(text)) return overloaded;
  if (isDead(text)) return lost;
  if (status === 0) return error.kind.includes("invalid") ? refusal(error.message) : failed(error.message);
  return failureFromHttpStatus(status, error.message, text);
}
