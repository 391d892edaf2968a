import { Learned } from "./learned.ts";

/** How long answers are, by model, learned from those that were given. */
export interface AnswerEstimate {
  /** Tokens that an answer of this model has, if nobody stated how many it may have; never below 256. */
  likely(modelId: string): number;
  /** A choice had this many. */
  learn(modelId: string, tokens: number): void;
}

/** Less says little: the next answer may be a longer one. */
const likelyMin = 256;
/** The weight of the newest: about the last 20 answers decide. */
const newestWeight = 0.05;

/** Builds an estimate that knows nothing. */
export function createAnswerEstimate(): AnswerEstimate {
  const learned = new Learned(newestWeight);
  return {
    likely: (modelId) => Math.max(likelyMin, Math.ceil(learned.get(modelId) ?? 0)),
    learn: (modelId, tokens) => learned.learn(modelId, tokens, tokens),
  };
}
