import { explicitSampling } from "./explicit-sampling.ts";
import { addGuide } from "./guide-inputs.ts";
import { Inputs } from "./inputs.ts";
import { type BuiltRequest, maxTokensOf, type Wanted } from "./request.ts";
import { addSampling, type SamplingInput } from "./sampling-inputs.ts";

const table: readonly SamplingInput[] = [
  { param: "temperature", inputs: ["temperature"], value: (s) => s.temperature, neutral: [] },
  { param: "top_p", inputs: ["top_p"], value: (s) => s.topP, neutral: [1] },
  { param: "top_k", inputs: ["top_k"], value: (s) => s.topK && Math.max(0, s.topK), neutral: [0] },
  { param: "min_p", inputs: [], value: (s) => s.minP, neutral: [0] },
  { param: "seed", inputs: ["seed", "random_seed"], value: (s) => s.seed, neutral: [] },
  { param: "frequency_penalty", inputs: ["frequency_penalty"], value: (s) => s.frequencyPenalty, neutral: [0] },
  { param: "presence_penalty", inputs: ["presence_penalty"], value: (s) => s.presencePenalty, neutral: [0] },
  { param: "repetition_penalty", inputs: ["repetition_penalty"], value: (s) => s.repetitionPenalty, neutral: [1] },
  { param: "min_tokens", inputs: ["min_tokens", "min_length"], value: (s) => s.minTokens, neutral: [0] },
  { param: "stop_token_ids", inputs: [], value: (s) => s.stopTokenIds.length, neutral: [0] },
  { param: "ignore_eos", inputs: [], value: (s) => s.ignoreEos, neutral: [false] },
];

/** Extras that are inputs of these models too: a number, or texts. */
const extraNumbers: ReadonlySet<string> = new Set(["length_penalty"]);
const extraTexts: ReadonlySet<string> = new Set(["bad_words"]);

/** Builds the request for the ensemble or BLS model of TensorRT-LLM. */
export function tensorrtRequest({ attempt, model, prompt, stream }: Wanted): BuiltRequest {
  const { request } = attempt;
  const { sampling } = request;
  const inputs = new Inputs(model);
  const maxTokens = maxTokensOf(attempt);
  inputs.add("text_input", prompt);
  inputs.add("max_tokens", maxTokens);
  inputs.add("stream", stream);
  inputs.add("exclude_input_in_output", true);
  inputs.add("return_num_input_tokens", true);
  inputs.add("return_num_output_tokens", true);
  if (request.choices > 1) inputs.add("num_return_sequences", request.choices);
  const unsupported = addSampling(inputs, explicitSampling(sampling, attempt.id), table);
  if (unsupported !== undefined) return { kind: "unsupported", param: unsupported };
  // Without the input the engine goes on, and the driver ends the text.
  if (sampling && sampling.stop.length > 0) inputs.add("stop_words", ...sampling.stop);

  const ignored = addExtras(inputs, addGuide(inputs, attempt));
  return { kind: "request", request: inputs.request(attempt.model.engineModel, attempt.id), maxTokens, ignored };
}

/** The names of those that the model has no input for. */
function addExtras(inputs: Inputs, extras: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(extras).flatMap(([name, value]) => {
    const isNumber = extraNumbers.has(name) && typeof value === "number";
    if (isNumber && inputs.add(name, value)) return [];
    const texts = extraTexts.has(name) && Array.isArray(value) ? value.filter((text) => typeof text === "string") : [];
    return texts.length > 0 && inputs.add(name, ...texts) ? [] : [name];
  });
}
