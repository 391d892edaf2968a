/** Members that trtllm-serve takes: it refuses a request with any other. */

const sampling = [
  "model",
  "frequency_penalty",
  "logit_bias",
  "logprobs",
  "max_tokens",
  "n",
  "presence_penalty",
  "response_format",
  "seed",
  "stop",
  "stream",
  "stream_options",
  "temperature",
  "top_p",
  "user",
  "best_of",
  "use_beam_search",
  "top_k",
  "top_p_min",
  "min_p",
  "repetition_penalty",
  "length_penalty",
  "early_stopping",
  "stop_token_ids",
  "include_stop_str_in_output",
  "ignore_eos",
  "min_tokens",
  "skip_special_tokens",
  "spaces_between_special_tokens",
  "truncate_prompt_tokens",
  "thinking_token_budget",
  "prompt_ignore_length",
  "add_special_tokens",
  "lora_request",
  "disaggregated_params",
  "conversation_params",
  "priority",
];

/** Of /v1/completions: no salt. */
export const completionMembers: ReadonlySet<string> = new Set([
  ...sampling,
  "prompt",
  "echo",
  "suffix",
  "return_context_logits",
  "detokenize",
]);

/** Of /v1/chat/completions. */
export const chatMembers: ReadonlySet<string> = new Set([
  ...sampling,
  "messages",
  "prompt_token_ids",
  "max_completion_tokens",
  "top_logprobs",
  "tools",
  "tool_choice",
  "parallel_tool_calls",
  "reasoning_effort",
  "thinking",
  "echo",
  "add_generation_prompt",
  "documents",
  "chat_template",
  "chat_template_kwargs",
  "media_io_kwargs",
  "mm_processor_kwargs",
  "cache_salt",
  "agent_hierarchy",
]);

/** Of /v1/embeddings. */
export const embeddingMembers: ReadonlySet<string> = new Set([
  "model",
  "input",
  "encoding_format",
  "dimensions",
  "user",
  "add_special_tokens",
]);

/** Of a request's members that are objects, or lists of such. */
export const nestedMembers: Readonly<Record<string, ReadonlySet<string>>> = {
  stream_options: new Set(["include_usage", "continuous_usage_stats"]),
  response_format: new Set(["type", "schema", "json_schema", "regex", "ebnf", "format"]),
  tools: new Set(["type", "function"]),
};
