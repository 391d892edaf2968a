import type { Attempt } from "../../driver.ts";
import type { Vocabulary } from "../../tokens/vocabulary.ts";
import { explicitSampling } from "../explicit-sampling.ts";
import { addGuide } from "../guide-inputs.ts";
import { Inputs } from "../inputs.ts";
import { type BuiltRequest, maxTokensOf } from "../request.ts";
import { addSampling, type SamplingInput } from "../sampling-inputs.ts";
import type { CoreInterface } from "./interface.ts";

const table: readonly SamplingInput[] = [
  { param: "temperature", inputs: ["temperature"], value: (s) => s.temperature, neutral: [] },
  { param: "top_p", inputs: ["runtime_top_p"], value: (s) => s.topP, neutral: [1] },
  { param: "top_k", inputs: ["runtime_top_k"], value: (s) => s.topK && Math.max(0, s.topK), neutral: [0] },
  { param: "min_p", inputs: [], value: (s) => s.minP, neutral: [0] },
  { param: "seed", inputs: ["seed", "random_seed"], value: (s) => s.seed, neutral: [] },
  { param: "frequency_penalty", inputs: ["frequency_penalty"], value: (s) => s.frequencyPenalty, neutral: [0] },
  { param: "presence_penalty", inputs: ["presence_penalty"], value: (s) => s.presencePenalty, neutral: [0] },
  { param: "repetition_penalty", inputs: ["repetition_penalty"], value: (s) => s.repetitionPenalty, neutral: [1] },
  { param: "min_tokens", inputs: ["min_tokens", "min_length"], value: (s) => s.minTokens, neutral: [0] },
  { param: "ignore_eos", inputs: [], value: (s) => s.ignoreEos, neutral: [false] },
];

/** Extras that the driver itself sees to. */
const ownExtras: ReadonlySet<string> = new Set(["skip_special_tokens", "return_token_ids"]);

/** What is asked of a core model. */
export interface CoreWanted {
  readonly attempt: Attempt;
  readonly model: CoreInterface;
  readonly ids: Uint32Array;
  readonly vocabulary: Vocabulary;
  readonly stream: boolean;
}

/** Builds the request for TensorRT-LLM's core model. */
export function coreRequest({ attempt, model, ids, vocabulary, stream }: CoreWanted): BuiltRequest {
  const { sampling, choices } = attempt.request;
  const inputs = new Inputs(model);
  const maxTokens = maxTokensOf(attempt);
  inputs.addIds("input_ids", ids);
  inputs.add("input_lengths", ids.length);
  inputs.add("request_output_len", maxTokens);
  inputs.add("streaming", stream);
  inputs.add("exclude_input_in_output", true);
  if (choices > 1) inputs.add("num_return_sequences", choices);
  const unsupported = addSampling(inputs, explicitSampling(sampling, attempt.id), table);
  if (unsupported !== undefined) return { kind: "unsupported", param: unsupported };

  const [end, ...others] = vocabulary.endIds;
  const pad = vocabulary.padId ?? end;
  if (end !== undefined) inputs.add("end_id", end);
  if (pad !== undefined) inputs.add("pad_id", pad);
  // Where the input is missing the engine goes on, and the driver ends the text. Stop texts are the driver's alone: how
  // one is cut into tokens depends on what stands before it.
  const stops = [...others, ...(sampling?.stopTokenIds ?? [])];
  if (stops.length > 0) inputs.addIds("stop_words_list", [...stops, ...stops.map((_, at) => at + 1)], 2);

  const extras = addGuide(inputs, attempt);
  const request = inputs.request(attempt.model.engineModel, attempt.id);
  const ignored = Object.keys(extras).filter((name) => !ownExtras.has(name));
  return { kind: "request", request, maxTokens, ignored };
}
