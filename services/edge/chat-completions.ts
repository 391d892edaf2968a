import type { GenerationEndpoint } from "./generation.ts";
import { createChatBody } from "./openai/chat-body.ts";
import { createChatChunks } from "./openai/chat-chunks.ts";
import { decodeChatRequest } from "./openai/chat-request.ts";

/** POST /v1/chat/completions. */
export const chatCompletions: GenerationEndpoint = {
  idPrefix: "chatcmpl-",
  decode: decodeChatRequest,
  chunks: createChatChunks,
  body: createChatBody,
};
