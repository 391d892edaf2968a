import { credential, type Failure, failed, overloaded, protocol, refusal, unavailable } from "../failure.ts";

/** The head of an answer, as far as a failure wants to know of it. */
export interface FailedHead {
  readonly status: number;
  /** A field of it, by its name in lower case. */
  field(name: string): string | undefined;
}

/** Whether the server did not accept our credential. Nothing of such an answer is repeated: it may hold the key. */
export function isCredentialStatus(status: number): boolean {
  return status === 401 || status === 403;
}

/** Whether the server, or what stands before it, cannot answer now: it may in a moment. */
export function isPassingStatus(status: number): boolean {
  return status === 429 || status >= 500;
}

/**
 * What an answer other than 200 means by its status alone.
 *
 * @param message what the server said, for a caller.
 * @param text all that it said, where more is to be had: the kind of its error, say.
 */
export function failureFromHttpStatus(status: number, message: string, text = message): Failure {
  if (isCredentialStatus(status)) return credential;
  if (status === 429 || status === 529 || status === 503) return overloaded;
  if (status === 502 || status === 504) return unavailable;
  // A server that has not the model (another may have it), or not the path.
  if (status === 404)
    return /model|deployment/i.test(text) ? unavailable : protocol("404: it does not serve this path");
  if (status > 200 && status < 300) return protocol("an answer without content");
  if (status >= 300 && status < 400) return protocol("a redirect, which is not followed");
  return status >= 500 ? failed(message) : refusal(message);
}

/** A failure for want of room, with the time after which the server says that there may be some. */
export function withRetryAfter(failure: Failure, head: FailedHead, nowMs: number): Failure {
  if (failure.reason !== overloaded.reason) return failure;
  const retryAfterMs = retryAfter(head, nowMs);
  return retryAfterMs === undefined ? failure : { ...failure, retryAfterMs };
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
