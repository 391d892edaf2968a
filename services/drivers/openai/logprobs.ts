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
  const { token, logprob, bytes } = partOf(raw);
  const top = raw["top_logprobs"];
  return {
    $typeName: "weir.router.v1.TokenLogprob",
    token,
    logprob,
    bytes,
    top: Array.isArray(top) ? top.filter(isObject).map(topOf) : [],
  };
}

function topOf(raw: JsonObject): TopLogprob {
  return { $typeName: "weir.router.v1.TopLogprob", ...partOf(raw) };
}

function partOf(raw: JsonObject): { token: string; logprob: number; bytes: Uint8Array<ArrayBuffer> } {
  const token = typeof raw["token"] === "string" ? raw["token"] : "";
  return { token, logprob: numberOf(raw["logprob"]), bytes: bytesOf(raw["bytes"], token) };
}

function fromLists(raw: JsonObject): TokenLogprob[] {
  const { tokens, token_logprobs: values, top_logprobs: tops } = raw;
  if (!Array.isArray(tokens)) return [];
  return tokens.map((text: unknown, index) => {
    const token = typeof text === "string" ? text : "";
    const value: unknown = Array.isArray(values) ? values[index] : undefined;
    const top: unknown = Array.isArray(tops) ? tops[index] : undefined;
    return {
      $typeName: "weir.router.v1.TokenLogprob",
      token,
      logprob: numberOf(value),
      bytes: bytesOf(undefined, token),
      top: isObject(top) ? Object.entries(top).map(([name, other]) => topOf({ token: name, logprob: other })) : [],
    };
  });
}

/** The first token of an echoed prompt has none. */
function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function bytesOf(raw: unknown, token: string): Uint8Array<ArrayBuffer> {
  if (Array.isArray(raw) && raw.every((byte) => typeof byte === "number")) return Uint8Array.from(raw);
  return bytesOfToken(token);
}
