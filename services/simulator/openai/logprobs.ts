import type { Scored } from "../scored.ts";

/** As chat completions list them. */
export function chatLogprobs(scored: readonly Scored[]): object[] {
  const entry = ({ text, logprob, bytes }: Pick<Scored, "text" | "bytes" | "logprob">) => ({
    token: text,
    logprob,
    bytes,
  });
  return scored.map((each) => ({ ...entry(each), top_logprobs: each.others.map(entry) }));
}

/** As completions list them: four lists side by side. */
export function completionLogprobs(scored: readonly Scored[]): object {
  return {
    tokens: scored.map(({ text }) => text),
    token_logprobs: scored.map(({ logprob, isFirst }) => (isFirst ? null : logprob)),
    top_logprobs: scored.map(({ others, isFirst }) =>
      isFirst ? null : Object.fromEntries(others.map(({ text, logprob }) => [text, logprob])),
    ),
    text_offset: scored.map(({ offset }) => offset),
  };
}
