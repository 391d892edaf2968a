import { LRUCache } from "lru-cache";

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
const modelsMax = 10_000;

/** Builds an estimate that knows nothing. */
export function createAnswerEstimate(): AnswerEstimate {
  const learned = new LRUCache<string, number>({ max: modelsMax });
  return {
    likely: (modelId) => Math.max(likelyMin, Math.ceil(learned.get(modelId) ?? 0)),
    learn(modelId, tokens) {
      const before = learned.get(modelId) ?? tokens;
      learned.set(modelId, before + newestWeight * (tokens - before));
    },
  };
}
