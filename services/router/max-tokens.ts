import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";

/** What decides how many tokens an answer may have. Counts are tokens; 0 stands for unknown or unset. */
export interface TokenBounds {
  /** The caller's `max_tokens`. */
  readonly requested: number;
  /** Of prompt and answer together: as the engine tells, else as the model is configured. */
  readonly context: number;
  /** The model's configured maximum. */
  readonly outputMax: number;
  /** The engine refuses or cuts short a request without a maximum, so it always gets one. */
  readonly mustBeTold: boolean;
  readonly prompt: PromptSize;
  /** The request's member that holds the prompt. */
  readonly param: string;
}

/** How long a prompt is, in tokens. The three are equal where it came as token ids. */
export interface PromptSize {
  /** It has at least this many. */
  readonly least: number;
  /** It probably has this many. */
  readonly likely: number;
}

/** The default of `outputMax`: long enough for most answers, short enough to end a runaway. */
const outputMaxDefault = 4_096;

/**
 * Bytes that a token has at most, for prose, code and other scripts in all common vocabularies. Only runs of one
 * character have longer tokens: a prompt of those is refused a little early.
 */
const bytesPerTokenMost = 16;

/** The size of a text of this many bytes, with the bytes that a token of this model has on average. */
export function sizeOfText(bytes: number, bytesPerToken: number): PromptSize {
  return { least: Math.floor(bytes / bytesPerTokenMost), likely: Math.ceil(bytes / bytesPerToken) };
}

/**
 * The most tokens that a choice may have; 0 leaves it to the engine. CONTEXT_LENGTH_EXCEEDED only if the prompt and
 * what was asked for are clearly over: near the limit the engine, which counts exactly, decides.
 */
export function resolveMaxTokens(bounds: TokenBounds): number | WeirError {
  const { requested, context, mustBeTold, prompt } = bounds;
  if (context > 0 && prompt.least + Math.max(1, requested) > context) return tooLong(bounds);
  if (!mustBeTold) return requested;
  const outputMax = bounds.outputMax || outputMaxDefault;
  const most = requested > 0 ? Math.min(requested, outputMax) : outputMax;
  if (context === 0) return most;
  const left = context - prompt.likely;
  // The estimate may be over where the truth is not: then what is surely left beyond the least counts.
  return Math.max(1, Math.min(most, left > 0 ? left : context - prompt.least));
}

function tooLong({ requested, context, prompt, param }: TokenBounds): WeirError {
  return fail(ErrorReason.CONTEXT_LENGTH_EXCEEDED, {
    param,
    limit: String(context),
    prompt_tokens: prompt.least === prompt.likely ? String(prompt.likely) : `about ${prompt.likely}`,
    max_tokens: requested > 0 ? String(requested) : "",
  });
}
