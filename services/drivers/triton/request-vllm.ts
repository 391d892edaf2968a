import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { structuredOutputs } from "../guide.ts";
import { isObject } from "../http/json.ts";
import { Inputs } from "./inputs.ts";
import { type BuiltRequest, maxTokensOf, type Wanted } from "./request.ts";

/** Extras that are sampling parameters of vLLM too. The others have no place in this interface. */
const extraParameters: ReadonlySet<string> = new Set([
  "allowed_token_ids",
  "bad_words",
  "include_stop_str_in_output",
  "length_penalty",
  "skip_special_tokens",
  "spaces_between_special_tokens",
  "truncate_prompt_tokens",
]);

/** Builds the request for Triton's vLLM backend: sampling parameters travel as one JSON text. */
export function vllmRequest({ attempt, model, prompt, stream }: Wanted): BuiltRequest {
  const maxTokens = maxTokensOf(attempt);
  const parameters: Record<string, unknown> = {};
  const ignored: string[] = [];
  for (const [name, value] of Object.entries(attempt.extras)) {
    if (extraParameters.has(name)) parameters[name] = value;
    else if (isForm(name, value, attempt.request)) parameters[name] = JSON.stringify(value);
    else ignored.push(name);
  }
  Object.assign(parameters, samplingParameters(attempt.request), { max_tokens: maxTokens });

  const inputs = new Inputs(model);
  inputs.add("text_input", prompt);
  inputs.add("stream", stream);
  inputs.add("sampling_parameters", JSON.stringify(parameters));
  inputs.add("exclude_input_in_output", true);
  inputs.add("return_finish_reason", true);
  if (attempt.request.logprobs) inputs.add("return_logprobs", true);
  inputs.add("return_num_input_tokens", true);
  inputs.add("return_num_output_tokens", true);
  return { kind: "request", request: inputs.request(attempt.model.engineModel, attempt.id), maxTokens, ignored };
}

/** The backend takes it as vLLM does, but as a text; where the request has no form of its own. */
function isForm(name: string, value: unknown, { responseFormat }: GenerateRequest): boolean {
  const form = responseFormat?.form.case;
  return name === structuredOutputs && isObject(value) && form !== "jsonSchema" && form !== "jsonObject";
}

function samplingParameters(request: GenerateRequest): Record<string, unknown> {
  const { sampling } = request;
  const parameters: Record<string, unknown> = {};
  const set = (name: string, value: unknown) => {
    if (value !== undefined) parameters[name] = value;
  };
  set("logprobs", request.logprobs?.top);
  const form = request.responseFormat?.form;
  if (form?.case === "jsonSchema") set(structuredOutputs, JSON.stringify({ json: form.value.schemaJson || "{}" }));
  if (form?.case === "jsonObject") set(structuredOutputs, JSON.stringify({ json_object: true }));
  if (!sampling) return parameters;
  set("temperature", sampling.temperature);
  set("top_p", sampling.topP);
  set("top_k", sampling.topK === undefined ? undefined : Math.max(0, sampling.topK));
  set("min_p", sampling.minP);
  // JSON numbers are exact to 53 bits; the same seed stays the same.
  set("seed", sampling.seed === undefined ? undefined : Number(BigInt.asIntN(53, sampling.seed)));
  set("frequency_penalty", sampling.frequencyPenalty);
  set("presence_penalty", sampling.presencePenalty);
  set("repetition_penalty", sampling.repetitionPenalty);
  set("min_tokens", sampling.minTokens);
  if (Object.keys(sampling.logitBias).length > 0) set("logit_bias", sampling.logitBias);
  if (sampling.stop.length > 0) set("stop", sampling.stop);
  if (sampling.stopTokenIds.length > 0) set("stop_token_ids", sampling.stopTokenIds);
  if (sampling.ignoreEos) set("ignore_eos", true);
  return parameters;
}
