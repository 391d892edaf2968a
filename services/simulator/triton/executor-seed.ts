import type { Inputs } from "./inputs.ts";

const fixed = 0n;

/**
 * The seed that TensorRT-LLM's executor draws with. It draws only where it is told of a `top_k` or a `top_p`: else it takes
 * the likeliest token, whatever the temperature. Without a seed it takes always the same one.
 *
 * @param names what the model calls its inputs.
 */
export function executorSeed(inputs: Inputs, names: { readonly topK: string; readonly topP: string }): bigint {
  const topK = inputs.number(names.topK) ?? 0;
  const topP = inputs.number(names.topP) ?? 0;
  const isGreedy = topK === 1 || (topK <= 0 && topP <= 0) || inputs.number("temperature") === 0;
  return isGreedy ? fixed : (inputs.integer("seed") ?? fixed);
}
