import type { ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import { countTokens } from "../text.ts";
import type { Inputs } from "./inputs.ts";
import type { Model } from "./models.ts";
import type { Asked } from "./request.ts";

/** What the LLM API gives where nobody says how much. */
const maxTokensDefault = 32;

/** Reads what is asked of the LLM API, or says why it fails it. */
export function llmapiAsked(
  model: Model,
  request: ModelInferRequest,
  inputs: Inputs,
  contextLength: number,
): Asked | string {
  const prompt = inputs.text("text_input") ?? "";
  const promptTokens = countTokens(prompt);
  const stream = inputs.flag("streaming") ?? false;
  if (stream && !model.decoupled) return "Streaming is only supported in decoupled mode.";
  const temperature = inputs.number("sampling_param_temperature");
  if (temperature !== undefined && temperature < 0) return `require temperature >= 0, got temperature=${temperature}`;
  const [topP, topK] = [inputs.number("sampling_param_top_p"), inputs.number("sampling_param_top_k")];
  if (topP !== undefined && (topP < 0 || topP > 1)) return `require 0 <= top_p <= 1, got top_p=${topP}`;
  if (promptTokens >= contextLength)
    return `The sum of prompt length (${promptTokens}.0), query length (0) should not exceed max_num_tokens (${contextLength})`;
  const isOpen = [temperature, topP, topK].every((value) => value === undefined);
  const isGreedy = isOpen || temperature === 0 || topP === 0 || topK === 1;
  return {
    job: {
      id: request.id,
      model: model.name,
      prompt,
      // Without a seed the engine takes always the same one.
      seed: isGreedy ? 0n : (inputs.integer("sampling_param_seed") ?? 0n),
      maxTokens: inputs.number("sampling_param_max_tokens") ?? maxTokensDefault,
      minTokens: 0,
      ignoreEos: false,
      choices: 1,
      saying: undefined,
      cacheSalt: "",
    },
    stream,
    stops: inputs.texts("sampling_param_stop").filter((stop) => stop !== ""),
    excludesPrompt: true,
    returns: {
      finishReason: inputs.flag("return_finish_reason") ?? false,
      stopReason: inputs.flag("return_stop_reason") ?? false,
      inputTokens: false,
      outputTokens: false,
      logprobs: false,
    },
  };
}
