import { isObject } from "../http/json.ts";
import { toldCount } from "../unary.ts";

/** The tokens of the prompt in an answer that has no others; undefined: the server does not say. */
export function promptTokensOf(answer: unknown): number | undefined {
  const usage = isObject(answer) ? answer["usage"] : undefined;
  return isObject(usage) ? toldCount(usage["prompt_tokens"], usage["total_tokens"]) : undefined;
}
