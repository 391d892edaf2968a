import type { Token } from "../text.ts";

/** A token with its likelihood and that of others in its place. */
export interface Scored {
  readonly text: string;
  readonly bytes: readonly number[];
  readonly logprob: number;
  readonly others: readonly Omit<Scored, "others" | "offset">[];
  /** Characters of the choice's text before it. */
  readonly offset: number;
}

/** Likelihoods that follow from the token: nobody computes them here, but their form is the engine's. */
export function scoredFrom(token: Token, top: number, offset: number): Scored {
  const entry = (rank: number) => ({
    text: rank === 0 ? token.bytes.toString("utf8") : `${token.bytes.toString("utf8")}${rank}`,
    bytes: rank === 0 ? [...token.bytes] : [...token.bytes, ...Buffer.from(String(rank))],
    logprob: -0.25 * (rank + 1) - (token.id % 7) / 100,
  });
  return { ...entry(0), others: Array.from({ length: top }, (_, rank) => entry(rank)), offset };
}

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
