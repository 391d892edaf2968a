import type { TokenLogprob, TopLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { isObject, type JsonObject } from "../http/json.ts";
import { bytesOfToken } from "../logprob.ts";

/**
 * Log probabilities of a chunk's tokens: OpenAI's two forms, `content` of chat and the parallel lists of completions
 * (llama.cpp uses the first for both). What is malformed is left out.
 */
export function logprobsOf(raw: unknown): TokenLogprob[] {
  if (!isObject(raw)) return [];
  for (const member of [raw["content"], raw["refusal"]])
    if (Array.isArray(member)) return member.filter(isObject).map(tokenOf);
  return fromLists(raw);
}

function tokenOf(raw: JsonObject): TokenLogprob {
  const top = raw["top_logprobs"];
  return scored(textOf(raw["token"]), raw["logprob"], raw["bytes"], Array.isArray(top) ? top.filter(isObject) : []);
}

function fromLists(raw: JsonObject): TokenLogprob[] {
  const { tokens, token_logprobs: values, top_logprobs: tops } = raw;
  if (!Array.isArray(tokens)) return [];
  return tokens.map((token: unknown, index) => {
    const value: unknown = Array.isArray(values) ? values[index] : undefined;
    const top: unknown = Array.isArray(tops) ? tops[index] : undefined;
    const others = isObject(top) ? Object.entries(top).map(([name, other]) => ({ token: name, logprob: other })) : [];
    return scored(textOf(token), value, undefined, others);
  });
}

/** The first token of an echoed prompt has none, which is not the 0 of a certain one. */
function scored(token: string, logprob: unknown, bytes: unknown, top: readonly JsonObject[]): TokenLogprob {
  return {
    $typeName: "weir.router.v1.TokenLogprob",
    token,
    logprob: typeof logprob === "number" ? logprob : 0,
    bytes: bytesOf(bytes, token),
    top: top.flatMap(topOf),
    unscored: typeof logprob !== "number",
  };
}

function topOf({ token: raw, logprob, bytes }: JsonObject): TopLogprob[] {
  if (typeof logprob !== "number") return [];
  const token = textOf(raw);
  return [{ $typeName: "weir.router.v1.TopLogprob", token, logprob, bytes: bytesOf(bytes, token) }];
}

function textOf(raw: unknown): string {
  return typeof raw === "string" ? raw : "";
}

function bytesOf(raw: unknown, token: string): Uint8Array<ArrayBuffer> {
  if (Array.isArray(raw) && raw.every((byte) => typeof byte === "number")) return Uint8Array.from(raw);
  return bytesOfToken(token);
}
