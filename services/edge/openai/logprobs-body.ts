import type { TokenLogprob, TopLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";

/** JSON has no negative infinity: this is the value that OpenAI sends for a token that could not have come. */
const impossible = -9999;

const finite = (logprob: number) => (Number.isFinite(logprob) ? logprob : impossible);

function alternativeBody(top: TopLogprob) {
  return { token: top.token, logprob: finite(top.logprob), bytes: top.bytes.length > 0 ? [...top.bytes] : null };
}

/** One token of `logprobs.content`. */
export function chatLogprob(of: TokenLogprob) {
  return {
    token: of.token,
    logprob: finite(of.logprob),
    bytes: of.bytes.length > 0 ? [...of.bytes] : null,
    top_logprobs: of.top.map(alternativeBody),
  };
}

export type ChatLogprob = ReturnType<typeof chatLogprob>;

/** `logprobs` of a completion: lists in step, one entry a token. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: number[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

export function emptyCompletionLogprobs(): CompletionLogprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
}

/** Adds tokens, the first of which begins `offset` characters into the choice's text. */
export function addCompletionLogprobs(to: CompletionLogprobs, logprobs: readonly TokenLogprob[], offset: number): void {
  let at = offset;
  for (const of of logprobs) {
    to.tokens.push(of.token);
    to.token_logprobs.push(finite(of.logprob));
    to.top_logprobs.push(
      of.top.length > 0 ? Object.fromEntries(of.top.map((top) => [top.token, finite(top.logprob)])) : null,
    );
    to.text_offset.push(at);
    at += of.token.length;
  }
}
