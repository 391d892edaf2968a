import type { TokenLogprob } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { isObject, type JsonObject, parsed } from "../http/json.ts";
import { bytesOfToken, logprobLeast } from "../logprob.ts";

/** Ids as names of members: JavaScript would put them into the order of numbers, and the first one is the token that was drawn. */
const idNames = /"(\d+)":/g;
/** Python writes what JSON has no number for. */
const impossible = /"logprob":\s*(?:-Infinity|NaN)/g;

/**
 * Log probabilities as the vLLM backend tells them of a choice: a list with an object for each new token, whose members are
 * the token that was drawn and then the likeliest ones, by their ids. "null" where there are none. What is malformed is
 * left out.
 *
 * @param top how many of the likeliest are wanted.
 */
export function logprobsFrom(text: string, top: number): TokenLogprob[] {
  const tokens = parsed(text.replace(idNames, '"id$1":').replace(impossible, `"logprob": ${logprobLeast}`));
  if (!Array.isArray(tokens)) return [];
  return tokens.filter(isObject).flatMap((members) => {
    const [drawn, ...others] = Object.values(members).filter(isObject);
    if (!drawn) return [];
    const likeliest = [drawn, ...others].toSorted((one, other) => rankOf(one) - rankOf(other)).slice(0, top);
    return [
      {
        $typeName: "weir.router.v1.TokenLogprob" as const,
        ...scored(drawn),
        top: likeliest.map((one) => ({ $typeName: "weir.router.v1.TopLogprob" as const, ...scored(one) })),
        unscored: false,
      },
    ];
  });
}

function rankOf({ rank }: JsonObject): number {
  return typeof rank === "number" ? rank : Number.MAX_SAFE_INTEGER;
}

function scored({ decoded_token: given, logprob }: JsonObject) {
  const token = typeof given === "string" ? given : "";
  return {
    token,
    logprob: typeof logprob === "number" ? Math.max(logprob, logprobLeast) : logprobLeast,
    bytes: bytesOfToken(token),
  };
}
