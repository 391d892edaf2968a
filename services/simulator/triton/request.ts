import type { ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Job } from "../engine.ts";
import { parsedMembers } from "../json.ts";
import { firstText, sampleOf, sampleText, someObject } from "../sample.ts";
import { countTokens } from "../text.ts";
import type { Inputs } from "./inputs.ts";
import type { Model } from "./models.ts";
import { executorSeed } from "./executor-seed.ts";

/** A request as the model behind it understands it. */
export interface Asked {
  readonly job: Job;
  readonly stream: boolean;
  readonly stops: readonly string[];
  /** Undefined: it was not said. */
  readonly excludesPrompt: boolean | undefined;
  /** Of a model that takes ids: the prompt, and the token that ends an answer. */
  readonly ids?: { readonly prompt: readonly number[]; readonly end: number | undefined };
  readonly returns: {
    readonly finishReason: boolean;
    readonly stopReason?: boolean;
    readonly inputTokens: boolean;
    readonly outputTokens: boolean;
    readonly logprobs: boolean;
  };
  /** How many of the likeliest tokens are computed for each place; undefined: none, and nothing is told of them. */
  readonly topLogprobs?: number | undefined;
}

/** What TensorRT-LLM's executor says of a form where nobody set up a grammar. */
export const noGrammar =
  "Encountered an error when fetching new request: [TensorRT-LLM][ERROR] Assertion failed: Request is specified with GuidedDecodingParams, but GuidedDecoder is not setup. Please provide a valid GuidedDecodingConfig to setup GuidedDecoder.";

/** Reads what is asked of the ensemble or the BLS model, or says why TensorRT-LLM's executor fails it. */
export function tensorrtAsked(
  model: Model,
  request: ModelInferRequest,
  inputs: Inputs,
  contextLength: number,
): Asked | string {
  const prompt = inputs.text("text_input") ?? "";
  const promptTokens = countTokens(prompt);
  const maxTokens = inputs.number("max_tokens") ?? 0;
  if (maxTokens <= 0) return "request_output_len must be greater than zero";
  if (promptTokens >= contextLength)
    return `Encountered an error when fetching new request: Prompt length (${promptTokens}) exceeds maximum input length (${contextLength}).`;
  const stream = inputs.flag("stream") ?? false;
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
      prompt,
      seed: executorSeed(inputs, { topK: "top_k", topP: "top_p" }),
      maxTokens,
      minTokens: inputs.number("min_tokens") ?? 0,
      ignoreEos: false,
      choices,
      saying: guide === undefined ? undefined : guided(guide, inputs.text("guided_decoding_guide")),
      cacheSalt: "",
    },
    stream,
    stops: inputs.texts("stop_words").filter((stop) => stop !== ""),
    excludesPrompt: inputs.flag("exclude_input_in_output"),
    returns: {
      finishReason: false,
      inputTokens: inputs.flag("return_num_input_tokens") ?? false,
      outputTokens: inputs.flag("return_num_output_tokens") ?? false,
      logprobs: inputs.flag("return_log_probs") ?? false,
    },
  };
}

/** Reads what is asked of Triton's vLLM backend, or says why vLLM fails it. */
export function vllmAsked(
  model: Model,
  request: ModelInferRequest,
  inputs: Inputs,
  contextLength: number,
): Asked | string {
  const prompt = inputs.text("text_input") ?? "";
  const sampling = samplingFrom(inputs.text("sampling_parameters") ?? "{}");
  if (typeof sampling === "string") return sampling;
  const stream = inputs.flag("stream") ?? false;
  const excludesPrompt = inputs.flag("exclude_input_in_output");
  if (stream && excludesPrompt === false) return "When streaming, `exclude_input_in_output` = False is not allowed.";
  const promptTokens = countTokens(prompt);
  if (promptTokens >= contextLength)
    return `The decoder prompt (length ${promptTokens}) is longer than the maximum model length of ${contextLength}. Make sure that \`max_model_len\` is no smaller than the number of text tokens.`;
  return {
    job: { id: request.id, model: model.name, prompt, ...sampling, cacheSalt: "" },
    stream,
    stops: sampling.stops,
    topLogprobs: sampling.topLogprobs,
    excludesPrompt,
    returns: {
      finishReason: inputs.flag("return_finish_reason") ?? false,
      inputTokens: inputs.flag("return_num_input_tokens") ?? false,
      outputTokens: inputs.flag("return_num_output_tokens") ?? false,
      logprobs: inputs.flag("return_logprobs") ?? false,
    },
  };
}

type Sampling = Pick<Job, "seed" | "maxTokens" | "minTokens" | "ignoreEos" | "choices" | "saying"> & {
  readonly stops: readonly string[];
  readonly topLogprobs: number | undefined;
};

const wholeNumber = (min: number, max: number) => (value: number) =>
  Number.isInteger(value) && value >= min && value <= max;

const samplingRules: Readonly<Record<string, { fits: (value: number) => boolean; rule: string }>> = {
  n: { fits: wholeNumber(1, 128), rule: "n must be from 1 to 128" },
  max_tokens: { fits: wholeNumber(1, 2 ** 31), rule: "max_tokens must be at least 1" },
  min_tokens: { fits: wholeNumber(0, 2 ** 31), rule: "min_tokens must be greater than or equal to 0" },
  temperature: { fits: (value) => value >= 0, rule: "temperature must be non-negative" },
  top_p: { fits: (value) => value > 0 && value <= 1, rule: "top_p must be in (0, 1]" },
  logprobs: { fits: wholeNumber(0, 20), rule: "logprobs must be from 0 to 20" },
  seed: { fits: wholeNumber(-(2 ** 63), 2 ** 63), rule: "seed must be an int of 64 bits" },
};

function samplingFrom(json: string): Sampling | string {
  const members = parsedMembers(json);
  if (members === undefined) return "sampling_parameters must be a JSON object";
  if (members.has("lora_name")) return "LoRA feature is not enabled.";
  const form = members.get("structured_outputs");
  // It is read as a JSON text; whatever cannot be read leaves the backend without sampling parameters.
  if (form !== undefined && typeof form !== "string") return "'NoneType' object has no attribute 'lora_name'";
  for (const [name, { fits, rule }] of Object.entries(samplingRules)) {
    const value = members.get(name);
    if (value !== undefined && !(typeof value === "number" && fits(value)))
      return `${rule}, got ${JSON.stringify(value)}.`;
  }
  const number = (name: string) => {
    const value = members.get(name);
    return typeof value === "number" ? value : undefined;
  };
  const stop = members.get("stop");
  const stops: unknown[] = Array.isArray(stop) ? stop : [stop];
  const seed = number("seed") ?? (number("temperature") === 0 ? 0 : undefined);
  return {
    seed: seed === undefined ? undefined : BigInt(seed),
    maxTokens: number("max_tokens") ?? 16,
    minTokens: number("min_tokens") ?? 0,
    ignoreEos: members.get("ignore_eos") === true,
    choices: number("n") ?? 1,
    saying: form === undefined ? undefined : sayingOf(form),
    topLogprobs: number("logprobs"),
    stops: stops.filter((each) => typeof each === "string" && each !== "").map(String),
  };
}

function sayingOf(form: string): string | undefined {
  const members = parsedMembers(form);
  if (members === undefined) return undefined;
  const [json, choice, regex] = ["json", "choice", "regex"].map((name) => members.get(name));
  if (Array.isArray(choice)) return String(choice[0]);
  if (typeof regex === "string") return guided("regex", regex);
  if (json === undefined) return guided("json", undefined);
  return typeof json === "string" ? guided("json_schema", json) : JSON.stringify(sampleOf(json));
}

/** What a guide makes the model say. Of patterns the simulator follows those that list texts, of grammars none. */
export function guided(type: string, guide: string | undefined): string | undefined {
  if (type === "json") return someObject;
  if (type === "regex") return firstText(guide ?? "");
  return type === "json_schema" ? sampleText(guide ?? "{}") : undefined;
}
