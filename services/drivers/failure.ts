import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import { type ContextOverflow, scrubbed, withoutKey } from "./engine-text.ts";

/** A reason with its metadata, without the model's name. */
export interface Failure {
  readonly reason: ErrorReason;
  readonly metadata: Readonly<Record<string, string>>;
  /** When the engine says that another try is worth while, in milliseconds. Any number: what becomes of it is bounded. */
  readonly retryAfterMs?: number;
}

export const unavailable: Failure = { reason: ErrorReason.ENGINE_UNAVAILABLE, metadata: {} };
/** The connection broke after the request had gone out on it: the engine may have died of the request. */
export const lost: Failure = { reason: ErrorReason.ENGINE_UNAVAILABLE, metadata: { phase: "running" } };
export const credential: Failure = { reason: ErrorReason.ENGINE_CREDENTIAL, metadata: {} };
export const overloaded: Failure = { reason: ErrorReason.ENGINE_OVERLOADED, metadata: {} };

/** The engine refused the request, in its own words. */
export function refusal(text: string): Failure {
  return { reason: ErrorReason.ENGINE_REFUSED, metadata: { problem: scrubbed(text) || "no reason given" } };
}

/** The engine failed, in its own words. */
export function failed(text: string): Failure {
  const problem = scrubbed(text);
  return { reason: ErrorReason.ENGINE_FAILED, metadata: problem === "" ? {} : { problem } };
}

/** The engine broke its protocol, in ours. */
export function protocol(problem: string): Failure {
  return { reason: ErrorReason.ENGINE_PROTOCOL, metadata: { problem } };
}

/** The answer is longer than `receive_bytes_max` lets the engine send. */
export function tooLarge(limitBytes: number): Failure {
  const metadata = { limit: String(limitBytes), setting: "receive_bytes_max" };
  return { reason: ErrorReason.ANSWER_TOO_LARGE, metadata };
}

/** Prompt and answer do not fit the context. */
export function contextFailure(overflow: ContextOverflow): Failure {
  return {
    reason: ErrorReason.CONTEXT_LENGTH_EXCEEDED,
    metadata: {
      param: "messages",
      limit: overflow.limit || "?",
      prompt_tokens: overflow.promptTokens || "?",
      max_tokens: overflow.maxTokens,
    },
  };
}

/** Nobody waits longer than a day for an engine, whatever it says; and no contract could carry its infinity. */
const retryAfterMsMax = 86_400_000;

/** A failure of an engine as an error, which names the model as the caller does. */
export function engineError(
  { reason, metadata, retryAfterMs }: Failure,
  model: string,
  engineKey: string | undefined,
  cause?: unknown,
): WeirError {
  const facts: Record<string, string> = { model, ...metadata };
  // Some engines repeat the key that they do not take.
  if (engineKey && facts["problem"]) facts["problem"] = withoutKey(facts["problem"], engineKey);
  const afterMs = retryAfterMs === undefined ? Number.NaN : Math.min(retryAfterMs, retryAfterMsMax);
  return fail(reason, facts, afterMs >= 0 ? { cause, retryAfterMs: afterMs } : { cause });
}
