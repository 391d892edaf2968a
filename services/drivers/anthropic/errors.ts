import { contextOverflow, heard } from "../engine-text.ts";
import { contextFailure, credential, type Failure, failed, overloaded, refusal, unavailable } from "../failure.ts";
import { isObject, parsed } from "../http/json.ts";
import { type FailedHead, failureFromHttpStatus, isCredentialStatus, withRetryAfter } from "../http/status.ts";

/** An error of the API. */
export interface AnthropicError {
  /** Such as "overloaded_error"; empty: not said. */
  readonly type: string;
  readonly message: string;
}

/** Finds the error in what a server sent; undefined if there is none. */
export function anthropicErrorIn(json: unknown): AnthropicError | undefined {
  if (!isObject(json)) return undefined;
  const { error } = json;
  if (!isObject(error)) return json["type"] === "error" ? { type: "", message: "" } : undefined;
  const { type, message } = error;
  return { type: typeof type === "string" ? type : "", message: typeof message === "string" ? message : "" };
}

/** What an answer other than 200 means. `nowMs` is the time of day, for times that it states. */
export function failureFromAnthropicResponse(head: FailedHead, body: string, nowMs: number): Failure {
  const failure = failureFromAnthropic(head.status, anthropicErrorIn(parsed(body)) ?? { type: "", message: "" });
  return withReset(withRetryAfter(failure, head, nowMs), head, nowMs);
}

const tooLong = [
  /prompt is too long: (?<prompt>\d+) tokens > (?<limit>\d+) maximum/,
  /exceed context limit: (?<prompt>\d+) \+ (?<answer>\d+) > (?<limit>\d+)/,
];

/** Errors that are about our account, and say nothing of the request. */
const ofTheAccount: ReadonlySet<string> = new Set(["authentication_error", "permission_error", "billing_error"]);

/** What an error means. `status` is 0 inside a stream. */
export function failureFromAnthropic(status: number, { type, message: told }: AnthropicError): Failure {
  const message = heard(told);
  if (isCredentialStatus(status) || status === 402 || ofTheAccount.has(type)) return credential;
  // Said of a request, as if it were one's fault.
  if (/credit balance is too low/i.test(message)) return credential;
  for (const form of tooLong) {
    const { limit, prompt, answer = "" } = form.exec(message)?.groups ?? {};
    if (limit && prompt) return contextFailure({ limit, promptTokens: prompt, maxTokens: answer });
  }
  const overflow = contextOverflow(message);
  if (overflow) return contextFailure(overflow);
  switch (type) {
    case "overloaded_error":
    case "rate_limit_error":
      return overloaded;
    case "timeout_error":
      return unavailable;
    case "api_error":
      return failed(message);
    case "not_found_error":
      return failureFromHttpStatus(404, message);
    case "invalid_request_error":
    case "request_too_large":
    case "conflict_error":
      return refusal(message);
    default:
      return status === 0 ? failed(message) : failureFromHttpStatus(status, message);
  }
}

const dimensions = ["requests", "tokens", "input-tokens", "output-tokens"] as const;

/** Where no Retry-After says when there is room again, the limits that are used up do. */
function withReset(failure: Failure, head: FailedHead, nowMs: number): Failure {
  if (failure.reason !== overloaded.reason || failure.retryAfterMs !== undefined) return failure;
  const waits = dimensions
    .filter((name) => head.field(`anthropic-ratelimit-${name}-remaining`) === "0")
    .map((name) => Date.parse(head.field(`anthropic-ratelimit-${name}-reset`) ?? "") - nowMs)
    .filter((ms) => ms >= 0);
  return waits.length === 0 ? failure : { ...failure, retryAfterMs: Math.max(...waits) };
}
