import type { ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { textOf } from "../vocabulary.ts";
import { executorSeed } from "./executor-seed.ts";
import type { Inputs } from "./inputs.ts";
import type { Model } from "./models.ts";
import { type Asked, guided, noGrammar } from "./request.ts";

/** Reads what is asked of the core model, or says why TensorRT-LLM's executor fails it. */
export function coreAsked(
  model: Model,
  request: ModelInferRequest,
  inputs: Inputs,
  contextLength: number,
): Asked | string {
  const ids = inputs.rows("input_ids", 1)[0]?.map(Number) ?? [];
  const length = inputs.number("input_lengths") ?? 0;
  if (ids.length === 0 || length !== ids.length) return `input_lengths says ${length}, and there are ${ids.length} ids`;
  const maxTokens = inputs.number("request_output_len") ?? 0;
  if (maxTokens <= 0) return "request_output_len must be greater than zero";
  if (ids.length >= contextLength)
    return `Encountered an error when fetching new request: Prompt length (${ids.length}) exceeds maximum input length (${contextLength}).`;
  const stream = inputs.flag("streaming") ?? false;
  if (stream && !model.decoupled) return "Streaming is only supported in decoupled mode.";
  if (stream && (inputs.number("beam_width") ?? 1) > 1) return "beam width must be 1 when streaming";
  const choices = inputs.number("num_return_sequences") ?? 1;
  if (choices < 1 || choices > 128) return `num_return_sequences must be from 1 to 128, got ${choices}`;
  if (!model.decoupled && choices > 1) return "num_return_sequences must be 1 when not in decoupled mode.";
  const guide = inputs.text("guided_decoding_guide_type");
  if (guide !== undefined && !model.guided) return noGrammar;
  return {
    job: {
      id: request.id,
      model: model.name,
      prompt: textOf(ids),
      promptTokens: ids.length,
      seed: executorSeed(inputs, { topK: "runtime_top_k", topP: "runtime_top_p" }),
      maxTokens,
      minTokens: inputs.number("min_tokens") ?? 0,
      ignoreEos: false,
      choices,
      saying: guide === undefined ? undefined : guided(guide, inputs.text("guided_decoding_guide")),
      cacheSalt: "",
    },
    stream,
    stops: [],
    excludesPrompt: inputs.flag("exclude_input_in_output"),
    ids: { prompt: ids, end: inputs.number("end_id") },
    returns: { finishReason: false, inputTokens: false, outputTokens: false, logprobs: false },
  };
}
