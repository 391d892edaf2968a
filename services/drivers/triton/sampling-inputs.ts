import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { ExplicitSampling } from "./explicit-sampling.ts";
import type { Inputs } from "./inputs.ts";
import type { Scalar } from "./tensors.ts";

/** A member of the request, the inputs that may carry it (the first that is declared), and the values that do nothing. */
export interface SamplingInput {
  readonly param: string;
  readonly inputs: readonly string[];
  readonly value: (sampling: Sampling) => Scalar | undefined;
  readonly neutral: readonly Scalar[];
}

/**
 * Adds what the request says to the inputs that the model has for it.
 *
 * @returns the first member that the caller asked for, that has an effect, and no input.
 */
export function addSampling(
  inputs: Inputs,
  { sampling, implied }: ExplicitSampling,
  table: readonly SamplingInput[],
): string | undefined {
  for (const { param, inputs: names, value: valueOf, neutral } of table) {
    const value = valueOf(sampling);
    if (value === undefined) continue;
    const isTaken = names.some((name) => inputs.add(name, value));
    if (!isTaken && !neutral.includes(value) && !implied.has(param)) return param;
  }
  return undefined;
}
