import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { heard, isFull } from "../engine-text.ts";
import { contextFailure, credential, type Failure, failed, overloaded, refusal, unavailable } from "../failure.ts";
import { isObject, parsed } from "../http/json.ts";
import { type FailedHead, failureFromHttpStatus, isCredentialStatus, withRetryAfter } from "../http/status.ts";

/** An error of TGI: beside its text it says of which type it is, or, in chats, the status that it would have had. */
export interface TgiError {
  readonly message: string;
  /** Empty: not said. */
  readonly type: string;
  /** 0: not said. */
  readonly status: number;
}

/** Finds the error in what a server sent; undefined if there is none. */
export function tgiErrorIn(json: unknown): TgiError | undefined {
  if (!isObject(json)) return undefined;
  const { error, error_type: type } = json;
  if (typeof error === "string") return { message: error, type: typeof type === "string" ? type : "", status: 0 };
  if (!isObject(error)) return undefined;
  const { message, http_status_code: status } = error;
  return {
    message: typeof message === "string" ? message : "",
    type: "",
    status: typeof status === "number" ? status : 0,
  };
}

/** What an answer other than 200 means. `nowMs` is the time of day, for a Retry-After that states one. */
export function failureFromTgiResponse(head: FailedHead, body: string, nowMs: number): Failure {
  const error = tgiErrorIn(parsed(body)) ?? { message: "", type: "", status: 0 };
  return withRetryAfter(failureFromTgi({ ...error, status: head.status }), head, nowMs);
}

const tooLong = [
  /must be <= (?<limit>\d+)\. Given: (?<prompt>\d+) `inputs` tokens and (?<answer>\d+) `max_new_tokens`/,
  /`inputs` must have less than (?<limit>\d+) tokens\. Given: (?<prompt>\d+)/,
];
/** The router lives, and its shards do not. */
const shardsAreGone = /transport error|could not connect|connection refused|broken pipe/i;
const prefixes = /^(?:Input validation error|Request failed during generation|Server error|Template error): /;

/** What an error means, inside a 200 or not. */
export function failureFromTgi({ message: told, type, status }: TgiError): Failure {
  const message = heard(told);
  if (isCredentialStatus(status)) return credential;
  for (const form of tooLong) {
    const { limit, prompt, answer = "" } = form.exec(message)?.groups ?? {};
    if (limit && prompt) return contextFailure({ limit, promptTokens: prompt, maxTokens: answer });
  }
  if (type === "overloaded" || status === 429 || isFull(message)) return overloaded;
  if (type === "healthcheck" || status === 503 || shardsAreGone.test(message)) return unavailable;
  if (type.startsWith("incomplete_generation")) return { reason: ErrorReason.ENGINE_TRUNCATED, metadata: {} };
  const said = message.replace(prefixes, "").replace(prefixes, "");
  if (ofTheRequest.has(type) || status === 422) return refusal(said);
  if (type !== "" || status === 0 || status === 424) return failed(said);
  return failureFromHttpStatus(status, said);
}

const ofTheRequest: ReadonlySet<string> = new Set([
  "validation",
  "template_error",
  "missing_template_variable",
  "tool_error",
]);
