import { type Token, wholeTokensOf } from "./text.ts";

/** A token with its likelihood and that of others in its place. */
export interface Scored {
  readonly text: string;
  readonly bytes: readonly number[];
  readonly logprob: number;
  readonly others: readonly Pick<Scored, "text" | "bytes" | "logprob">[];
  /** Characters of the choice's text before it. */
  readonly offset: number;
  /** It begins the prompt: nothing tells how likely it was. */
  readonly isFirst?: boolean;
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

/** Those of a prompt that comes back before the answer. */
export function scoredPrompt(prompt: string, top: number): Scored[] {
  let offset = 0;
  return wholeTokensOf(prompt).map((token, index) => {
    const scored = { ...scoredFrom(token, top, offset), isFirst: index === 0 };
    offset += scored.text.length;
    return scored;
  });
}
