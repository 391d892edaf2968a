import { scoredFrom } from "../scored.ts";
import type { Token } from "../text.ts";

/** Ids of tokens are not those of the text's few words: some of the others are smaller, and some larger. */
const ids = { drawn: 1_000, larger: 100_000 };

/**
 * Log probabilities as Triton's vLLM backend writes them: a list with an object for each token, by ids, the one that was
 * drawn first. Every seventh token is less likely than all that are listed with it, and then one more.
 */
export function logprobsText(tokens: readonly Token[], top: number | undefined): string {
  if (top === undefined) return "null";
  return `[${tokens.map((token) => tokenText(token, top)).join(", ")}]`;
}

function tokenText(token: Token, top: number): string {
  const [{ others }, isUnlikely] = [scoredFrom(token, top + 1, 0), token.id % 7 === 0];
  const listed = isUnlikely ? others.slice(1) : others.slice(1, top);
  const drawn = { id: ids.drawn + token.id, rank: isUnlikely ? top + 1 : 1, text: token.bytes.toString("utf8") };
  const entries = listed.map(({ text, logprob }, at) => ({
    id: at % 2 === 0 ? at : ids.larger + at,
    rank: isUnlikely ? at + 1 : at + 2,
    text,
    logprob,
  }));
  const least = Math.min(0, ...entries.map(({ logprob }) => logprob));
  const all = [{ ...drawn, logprob: isUnlikely ? least - 1 : -0.01 }, ...entries];
  const members = all.map(
    ({ id, rank, text, logprob }) => `"${id}": ${JSON.stringify({ logprob, rank, decoded_token: text })}`,
  );
  return `{${members.join(", ")}}`;
}
