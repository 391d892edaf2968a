import { Learned } from "./learned.ts";

/** What a token is in bytes, by model, learned from the engines that count. */
export interface TokenEstimate {
  /** Bytes a token of this model has on average. */
  bytesPerToken(modelId: string): number;
  /** An engine counted this many tokens in a prompt of this many bytes. */
  learn(modelId: string, bytes: number, tokens: number): void;
}

/** English prose in common vocabularies. */
const bytesPerTokenDefault = 4;
/** A prompt shorter than this says more about the chat template than about the vocabulary. */
const bytesWorthLearning = 200;
/** The weight of the newest count: about the last 20 prompts decide. */
const newestWeight = 0.05;

/** Builds an estimate that knows nothing. */
export function createTokenEstimate(): TokenEstimate {
  const learned = new Learned(newestWeight);
  return {
    bytesPerToken: (modelId) => learned.get(modelId) ?? bytesPerTokenDefault,
    learn(modelId, bytes, tokens) {
      if (bytes < bytesWorthLearning || tokens <= 0) return;
      learned.learn(modelId, Math.min(8, Math.max(1, bytes / tokens)), bytesPerTokenDefault);
    },
  };
}
