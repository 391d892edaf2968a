import { explicitSampling } from "./explicit-sampling.ts";
import { Inputs } from "./inputs.ts";
import { type BuiltRequest, maxTokensOf, type Wanted } from "./request.ts";
import { addSampling, type SamplingInput } from "./sampling-inputs.ts";

const table: readonly SamplingInput[] = [
  { param: "temperature", inputs: ["sampling_param_temperature"], value: (s) => s.temperature, neutral: [] },
  { param: "top_p", inputs: ["sampling_param_top_p"], value: (s) => s.topP, neutral: [1] },
  { param: "top_k", inputs: ["sampling_param_top_k"], value: (s) => s.topK && Math.max(0, s.topK), neutral: [0] },
  { param: "min_p", inputs: [], value: (s) => s.minP, neutral: [0] },
  { param: "seed", inputs: ["sampling_param_seed"], value: (s) => s.seed, neutral: [] },
  {
    param: "frequency_penalty",
    inputs: ["sampling_param_frequency_penalty"],
    value: (s) => s.frequencyPenalty,
    neutral: [0],
  },
  {
    param: "presence_penalty",
    inputs: ["sampling_param_presence_penalty"],
    value: (s) => s.presencePenalty,
    neutral: [0],
  },
  { param: "repetition_penalty", inputs: [], value: (s) => s.repetitionPenalty, neutral: [1] },
  { param: "min_tokens", inputs: [], value: (s) => s.minTokens, neutral: [0] },
  { param: "stop_token_ids", inputs: [], value: (s) => s.stopTokenIds.length, neutral: [0] },
  { param: "ignore_eos", inputs: [], value: (s) => s.ignoreEos, neutral: [false] },
];

/** Builds the request for TensorRT-LLM's LLM API behind Triton. */
export function llmapiRequest({ attempt, model, prompt, stream }: Wanted): BuiltRequest {
  const { sampling } = attempt.request;
  const inputs = new Inputs(model);
  const maxTokens = maxTokensOf(attempt);
  inputs.add("text_input", prompt);
  inputs.add("sampling_param_max_tokens", maxTokens);
  inputs.add("streaming", stream);
  inputs.add("sampling_param_exclude_input_from_output", true);
  inputs.add("return_finish_reason", true);
  inputs.add("return_stop_reason", true);
  const unsupported = addSampling(inputs, explicitSampling(sampling, attempt.id), table);
  if (unsupported !== undefined) return { kind: "unsupported", param: unsupported };
  // Without the input the engine goes on, and the driver ends the text.
  if (sampling && sampling.stop.length > 0) inputs.add("sampling_param_stop", ...sampling.stop);
  const request = inputs.request(attempt.model.engineModel, attempt.id);
  return { kind: "request", request, maxTokens, ignored: Object.keys(attempt.extras) };
}
