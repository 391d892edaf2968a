import type { Attempt } from "../driver.ts";
import type { TritonInterface } from "./flavour.ts";
import type { InferRequest } from "./inputs.ts";

/** A request as its model wants it, or the first member that the model has no input for. */
export type BuiltRequest =
  | { readonly kind: "request"; readonly request: InferRequest; readonly maxTokens: number; readonly ignored: string[] }
  | { readonly kind: "unsupported"; readonly param: string };

/** What is asked of a model. */
export interface Wanted {
  readonly attempt: Attempt;
  readonly model: TritonInterface;
  /** The text to continue. */
  readonly prompt: string;
  readonly stream: boolean;
}

// These interfaces have no "as much as fits". The router normally gives a number; this is its own default.
const maxTokensFallback = 4_096;

/** The most tokens to ask for. */
export function maxTokensOf(attempt: Attempt): number {
  return attempt.maxTokens || attempt.request.sampling?.maxTokens || maxTokensFallback;
}
