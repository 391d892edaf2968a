import { dimensionsDefault } from "../vectors.ts";

/** The tensors of a kind of model, a line each: name, datatype, dims. A star marks what must be given. */
export interface TensorTable {
  readonly inputs: string;
  readonly outputs: string;
}

const tensorrtInputs = `
  text_input* BYTES 1
  max_tokens* INT32 1
  decoder_text_input BYTES 1
  num_return_sequences INT32 1
  bad_words BYTES -1
  stop_words BYTES -1
  exclude_input_in_output BOOL 1
  end_id INT32 1
  pad_id INT32 1
  top_k INT32 1
  top_p FP32 1
  temperature FP32 1
  length_penalty FP32 1
  repetition_penalty FP32 1
  min_tokens INT32 1
  presence_penalty FP32 1
  frequency_penalty FP32 1
  seed UINT64 1
  return_log_probs BOOL 1
  return_context_logits BOOL 1
  return_generation_logits BOOL 1
  return_perf_metrics BOOL 1
  return_num_input_tokens BOOL 1
  return_num_output_tokens BOOL 1
  beam_width INT32 1
  stream BOOL 1
  embedding_bias_words BYTES -1
  embedding_bias_weights FP32 -1
  lora_task_id UINT64 1
  guided_decoding_guide_type BYTES 1
  guided_decoding_guide BYTES 1`;

const tensorrtOutputs = `
  text_output BYTES -1
  cum_log_probs FP32 -1
  output_log_probs FP32 -1,-1
  batch_index INT32 1
  sequence_index INT32 1
  kv_cache_alloc_new_blocks INT32 1
  kv_cache_reused_blocks INT32 1
  kv_cache_alloc_total_blocks INT32 1
  arrival_time_ns INT64 1
  first_scheduled_time_ns INT64 1
  first_token_time_ns INT64 1
  last_token_time_ns INT64 1
  num_input_tokens INT32 1
  num_output_tokens INT32 1`;

/** TensorRT-LLM's ensemble. */
export const ensemble: TensorTable = { inputs: tensorrtInputs, outputs: tensorrtOutputs };

/** The Python model of the same tensors that calls the core itself. */
export const bls: TensorTable = {
  inputs: `${tensorrtInputs}
  num_draft_tokens INT32 1`,
  outputs: tensorrtOutputs,
};

/** The model before the core: text in, token ids out. */
export const preprocessing: TensorTable = {
  inputs: `
  QUERY* BYTES 1
  REQUEST_OUTPUT_LEN* INT32 1`,
  outputs: `
  INPUT_ID INT32 -1
  REQUEST_INPUT_LEN INT32 1`,
};

/** TensorRT-LLM's core: token ids in and out. */
export const core: TensorTable = {
  inputs: `
  input_ids INT32 -1
  input_lengths* INT32 1
  request_output_len* INT32 1
  num_return_sequences INT32 1
  end_id INT32 1
  pad_id INT32 1
  beam_width INT32 1
  temperature FP32 1
  runtime_top_k INT32 1
  runtime_top_p FP32 1
  len_penalty FP32 1
  repetition_penalty FP32 1
  min_tokens INT32 1
  presence_penalty FP32 1
  frequency_penalty FP32 1
  seed UINT64 1
  exclude_input_in_output BOOL 1
  stop BOOL 1
  streaming BOOL 1
  guided_decoding_guide_type BYTES 1
  guided_decoding_guide BYTES 1`,
  outputs: `
  output_ids INT32 -1,-1
  sequence_length INT32 -1
  batch_index INT32 1
  sequence_index INT32 1`,
};

/** Triton's vLLM backend. */
export const vllm: TensorTable = {
  inputs: `
  text_input* BYTES 1
  image BYTES -1
  stream BOOL 1
  sampling_parameters BYTES 1
  exclude_input_in_output BOOL 1
  return_finish_reason BOOL 1
  return_cumulative_logprob BOOL 1
  return_logprobs BOOL 1
  return_num_input_tokens BOOL 1
  return_num_output_tokens BOOL 1`,
  outputs: `
  text_output BYTES -1
  finish_reason BYTES -1
  cumulative_logprob FP32 -1
  logprobs BYTES -1
  num_input_tokens UINT32 1
  num_output_tokens UINT32 -1`,
};

/** TensorRT-LLM's LLM API. */
export const llmapi: TensorTable = {
  inputs: `
  text_input* BYTES -1
  streaming BOOL 1
  sampling_param_best_of INT32 1
  sampling_param_temperature FP32 1
  sampling_param_top_k INT32 1
  sampling_param_top_p FP32 1
  sampling_param_frequency_penalty FP32 1
  sampling_param_presence_penalty FP32 1
  sampling_param_max_tokens INT32 1
  sampling_param_stop BYTES -1
  sampling_param_seed UINT64 1
  sampling_param_exclude_input_from_output BOOL 1
  return_finish_reason BOOL 1
  return_stop_reason BOOL 1
  return_cumulative_logprob BOOL 1
  stop BOOL 1`,
  outputs: `
  text_output BYTES -1
  finish_reason BYTES -1
  stop_reason BYTES -1
  cumulative_logprob FP32 -1`,
};

/** A model that embeds texts. */
export const textEmbedding: TensorTable = {
  inputs: "TEXT* BYTES 1",
  outputs: `EMBEDDING FP32 ${dimensionsDefault}`,
};

/** A model that embeds token ids, as encoders are exported. */
export const tokenEmbedding: TensorTable = {
  inputs: `
  input_ids* INT64 -1
  attention_mask* INT64 -1`,
  outputs: `sentence_embedding FP32 ${dimensionsDefault}`,
};
