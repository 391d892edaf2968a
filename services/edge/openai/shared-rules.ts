import type { JsonValue } from "../json/parse.ts";
import type { Draft, Rule } from "./draft.ts";
import {
  expectArray,
  expectBoolean,
  expectDecimal,
  expectInt64,
  expectInteger,
  expectObject,
  expectOneOf,
  expectPositiveDecimal,
  expectString,
} from "./expect.ts";
import { invalid } from "./invalid.ts";

/** Members that /chat/completions and /completions share. Bounds are those of the contract, where OpenAI has none. */

export const int32Max = 2 ** 31 - 1;
const choicesMax = 128;
const stopsMax = 4;
const stopLengthMax = 1_024;
const stopTokenIdsMax = 256;
const logitBiasMax = 300;
const topKMax = 1_000_000;
/** No model answers with more, and an engine that is told to go on for ever hangs. */
const minTokensMax = 1_000_000;
const affinityLengthMax = 256;
const metadataPairsMax = 16;
const metadataKeyLengthMax = 64;
const metadataValueLengthMax = 512;
const logprobsOfPromptMax = 20;
const logprobTokenIdsMax = 128;

const decimal = (min: number, max: number, set: (draft: Draft, value: number) => void): Rule => {
  return (value, draft, member) => set(draft, expectDecimal(value, member, min, max));
};
const integer = (min: number, max: number, set: (draft: Draft, value: number) => void): Rule => {
  return (value, draft, member) => set(draft, expectInteger(value, member, min, max));
};
/** Has no effect here: it is checked, and named in the answer. */
export const ignored = (check: (value: JsonValue, member: string) => unknown): Rule => {
  return (value, draft, member) => {
    check(value, member);
    draft.ignored.add(member);
  };
};
/** Goes to engines that know it. */
export const carried = (check: (value: JsonValue, member: string) => unknown): Rule => {
  return (value, draft, member) => {
    check(value, member);
    draft.carried.set(member, value);
  };
};
const any = () => undefined;

const readStream: Rule = (value, draft, member) => {
  draft.request.stream = expectBoolean(value, member);
};

const readStreamOptions: Rule = (value, draft, member) => {
  if (draft.body["stream"] !== true) throw invalid(member, "invalid_value", "goes with `stream: true` only");
  const options = expectObject(value, member);
  for (const name in options) {
    const param = `${member}.${name}`;
    const option = options[name];
    if (option === null || option === undefined) continue;
    switch (name) {
      case "include_usage":
        draft.includeUsage = expectBoolean(option, param);
        break;
      // Padding against a reader of packet lengths, and counts on each chunk: the stream is right without them.
      case "include_obfuscation":
      case "continuous_usage_stats":
        if (expectBoolean(option, param)) draft.ignored.add(param);
        break;
      default:
        throw invalid(param, "unknown_parameter", "is no stream option");
    }
  }
};

const readStop: Rule = (value, draft, member) => {
  const stops = typeof value === "string" ? [value] : expectArray(value, member, stopsMax);
  draft.sampling.stop = stops.map((stop, i) =>
    expectString(stop, value === stop ? member : `${member}[${i}]`, stopLengthMax, 1),
  );
};

const readStopTokenIds: Rule = (value, draft, member) => {
  const ids = expectArray(value, member, stopTokenIdsMax);
  draft.sampling.stopTokenIds = ids.map((id, i) => expectInteger(id, `${member}[${i}]`, 0, int32Max));
};

const readLogitBias: Rule = (value, draft, member) => {
  const biases = expectObject(value, member);
  const ids = Object.keys(biases);
  if (ids.length > logitBiasMax) {
    throw invalid(member, "object_above_max_properties", `must have at most ${logitBiasMax} members`);
  }
  for (const id of ids) {
    if (!/^\d{1,10}$/.test(id) || Number(id) > int32Max)
      throw invalid(member, "invalid_value", "must have token ids as its keys");
    draft.sampling.logitBias[Number(id)] = expectDecimal(biases[id] ?? null, `${member}.${id}`, -100, 100);
  }
};

const readMetadata: Rule = (value, draft, member) => {
  const metadata = expectObject(value, member);
  const names = Object.keys(metadata);
  if (names.length > metadataPairsMax) {
    throw invalid(member, "object_above_max_properties", `must have at most ${metadataPairsMax} members`);
  }
  for (const name of names) {
    if (name.length > metadataKeyLengthMax) {
      throw invalid(member, "string_above_max_length", `must have keys of at most ${metadataKeyLengthMax} characters`);
    }
    expectString(metadata[name] ?? null, `${member}.${name}`, metadataValueLengthMax);
  }
  if (names.length > 0) draft.ignored.add(member);
};

/** What OpenAI and the engines take, sampling first. */
export const sharedRules: readonly (readonly [string, Rule])[] = [
  ["model", any],
  ["temperature", decimal(0, 2, (d, v) => (d.sampling.temperature = v))],
  ["top_p", (value, draft, member) => (draft.sampling.topP = expectPositiveDecimal(value, member, 1))],
  ["top_k", integer(-1, topKMax, (d, v) => (d.sampling.topK = v))],
  ["min_p", decimal(0, 1, (d, v) => (d.sampling.minP = v))],
  ["frequency_penalty", decimal(-2, 2, (d, v) => (d.sampling.frequencyPenalty = v))],
  ["presence_penalty", decimal(-2, 2, (d, v) => (d.sampling.presencePenalty = v))],
  [
    "repetition_penalty",
    (value, draft, member) => (draft.sampling.repetitionPenalty = expectPositiveDecimal(value, member, 10)),
  ],
  ["seed", (value, draft, member) => (draft.sampling.seed = expectInt64(value, member))],
  ["logit_bias", readLogitBias],
  ["max_tokens", integer(1, int32Max, (d, v) => (d.sampling.maxTokens = v))],
  ["min_tokens", integer(0, minTokensMax, (d, v) => (d.sampling.minTokens = v))],
  ["stop", readStop],
  ["stop_token_ids", readStopTokenIds],
  ["ignore_eos", (value, draft, member) => (draft.sampling.ignoreEos = expectBoolean(value, member))],
  ["n", integer(1, choicesMax, (d, v) => (d.request.choices = v))],
  ["stream", readStream],
  ["stream_options", readStreamOptions],
  // Requests that share a key share a prefix: that is what affinity is for.
  ["prompt_cache_key", (value, draft, member) => void expectString(value, member, affinityLengthMax)],
  ["session_id", (value, draft, member) => void expectString(value, member, affinityLengthMax)],
  // The engine gets ours, of the caller's project: what it would replace need not be carried.
  ["cache_salt", any],
  ["user", ignored((value, member) => expectString(value, member, metadataValueLengthMax))],
  ["metadata", readMetadata],
  ["prompt_logprobs", carried((value, member) => expectInteger(value, member, 0, logprobsOfPromptMax))],
  ["logprob_token_ids", carried((value, member) => expectArray(value, member, logprobTokenIdsMax))],
  ["service_tier", readServiceTier],
];

/** Members that engines of the operator's own know. The router decides which of them a pool's callers may set. */
const engineMembers = [
  "add_generation_prompt",
  "add_special_tokens",
  "allowed_token_ids",
  "bad_words",
  "chat_template",
  "chat_template_kwargs",
  "continue_final_message",
  "documents",
  "guided_choice",
  "guided_grammar",
  "guided_json",
  "guided_regex",
  "include_reasoning",
  "include_stop_str_in_output",
  "kv_transfer_params",
  "length_penalty",
  "media_io_kwargs",
  "mm_processor_kwargs",
  "priority",
  "repetition_detection",
  "request_id",
  "return_token_ids",
  "return_tokens_as_token_ids",
  "skip_special_tokens",
  "spaces_between_special_tokens",
  "stream_interval",
  "structured_outputs",
  "thinking_token_budget",
  "truncate_prompt_tokens",
  "use_beam_search",
  "vllm_xargs",
] as const;

export const engineRules: readonly (readonly [string, Rule])[] = engineMembers.map((member) => [member, carried(any)]);

/** How soon it is served is the operator's to say: what asks for more or less than the usual is named as ignored. */
function readServiceTier(value: JsonValue, draft: Draft, member: string): void {
  const tier = expectOneOf(value, member, ["auto", "default", "flex", "scale", "priority", "fast"]);
  if (tier !== "auto" && tier !== "default") draft.ignored.add(member);
}

/** Rules between members. */
export function checkTogether(draft: Draft): void {
  const { maxTokens, minTokens } = draft.sampling;
  if (maxTokens !== undefined && minTokens !== undefined && minTokens > maxTokens) {
    throw invalid("min_tokens", "conflicting_parameters", "must not be above `max_tokens`");
  }
}
