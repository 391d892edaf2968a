import type { Scored } from "../scored.ts";

/** As chat completions list them. */
export function chatLogprobs(scored: readonly Scored[]): object[] {
  const entry = ({ text, logprob, bytes }: Omit<Scored, "others" | "offset">) => ({ token: text, logprob, bytes });
  return scored.map((each) => ({ ...entry(each), top_logprobs: each.others.map(entry) }));
}

/** As completions list them: four lists side by side. */
export function completionLogprobs(scored: readonly Scored[]): object {
  return {
    tokens: scored.map(({ text }) => text),
    token_logprobs: scored.map(({ logprob }) => logprob),
    top_logprobs: scored.map(({ others }) => Object.fromEntries(others.map(({ text, logprob }) => [text, logprob]))),
    text_offset: scored.map(({ offset }) => offset),
  };
}
