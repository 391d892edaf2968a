import type { Token } from "./text.ts";

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
