import type { GenerationEndpoint } from "./generation.ts";
import { createCompletionBody } from "./openai/completion-body.ts";
import { createCompletionChunks } from "./openai/completion-chunks.ts";
import { decodeCompletionRequest } from "./openai/completion-request.ts";

/** POST /v1/completions. */
export const completions: GenerationEndpoint = {
  idPrefix: "cmpl-",
  decode: decodeCompletionRequest,
  chunks: createCompletionChunks,
  body: createCompletionBody,
};
