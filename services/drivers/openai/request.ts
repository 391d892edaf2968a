import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt } from "../driver.ts";
import type { Flavour } from "./flavours.ts";
import { writtenForm } from "./forms.ts";
import { jsonObjectMember } from "../http/json.ts";
import { openaiMessage } from "./messages.ts";
import { allowedTools, openaiTool, toolChoice } from "./tools.ts";

/** A request as the server wants it, or the first member that the server has nothing for. */
export type BuiltRequest =
  | {
      readonly kind: "request";
      readonly path: string;
      readonly body: Record<string, unknown>;
      readonly stream: boolean;
      /** Extras without a place. */
      readonly ignored: readonly string[];
    }
  | { readonly kind: "unsupported"; readonly param: string };

/** Builds the request; throws INVALID_ARGUMENT for JSON in it that is none. */
export function buildRequest(attempt: Attempt, flavour: Flavour): BuiltRequest {
  const { request } = attempt;
  const isChat = request.input.case === "conversation";
  const stream = request.stream || flavour.alwaysStream || comesLong(request);
  const body: Record<string, unknown> = { model: attempt.model.engineModel, stream };
  if (stream) body["stream_options"] = streamOptions(request, flavour);
  addInput(body, request, flavour);
  const unsupported = addSampling(body, request.sampling, flavour);
  if (unsupported !== undefined) return { kind: "unsupported", param: unsupported };
  const form = writtenForm(attempt, flavour);
  if (form.kind === "unsupported") return form;

  const maxTokens = attempt.maxTokens || request.sampling?.maxTokens;
  if (request.sampling?.maxTokens === 0) body["max_tokens"] = 0;
  else if (maxTokens) body[isChat ? flavour.maxTokensMember : "max_tokens"] = maxTokens;
  if (request.choices > 1) body["n"] = request.choices;
  if (isChat) addChatMembers(body, request, flavour);
  else addCompletionMembers(body, request, flavour);
  if (request.responseFormat) body["response_format"] = responseFormat(request);
  Object.assign(body, form.members);
  if (takesSalt(flavour, isChat) && attempt.cacheSalt !== "") body["cache_salt"] = attempt.cacheSalt;
  if (flavour.requestIdMember !== "") body[flavour.requestIdMember] = attempt.id;

  // The caller's own members come last and replace none of ours; only then the defaults.
  addAbsent(body, form.extras);
  addAbsent(body, flavour.defaults);
  return { kind: "request", path: isChat ? "/chat/completions" : "/completions", body, stream, ignored: form.ignored };
}

function takesSalt({ cacheSalt }: Flavour, isChat: boolean): boolean {
  return cacheSalt === "everywhere" || (cacheSalt === "in chats" && isChat);
}

/**
 * Log probabilities of eight choices of 4,096 tokens are 45 MB of JSON: they are read as they come. Servers do not stream the
 * best of several.
 */
function comesLong({ logprobs, bestOf, choices }: GenerateRequest): boolean {
  return logprobs !== undefined && bestOf <= Math.max(1, choices);
}

function addAbsent(body: Record<string, unknown>, members: Readonly<Record<string, unknown>>): void {
  for (const name in members) if (!(name in body)) body[name] = members[name];
}

const usageOnly = Object.freeze({ include_usage: true });
const usageOnEach = Object.freeze({ include_usage: true, continuous_usage_stats: true });

function streamOptions(request: GenerateRequest, flavour: Flavour): Readonly<Record<string, boolean>> {
  // Usage on each chunk counts one choice: with several it says nothing of the whole.
  return flavour.continuousUsage && request.choices <= 1 ? usageOnEach : usageOnly;
}

function addInput(body: Record<string, unknown>, { input }: GenerateRequest, flavour: Flavour): void {
  if (input.case === "conversation")
    body["messages"] = input.value.messages.map((message) => openaiMessage(message, flavour));
  else if (input.case === "tokenIds") body["prompt"] = input.value.ids;
  else body["prompt"] = input.value ?? "";
}

const neutral: Readonly<Record<string, unknown>> = {
  min_p: 0,
  repetition_penalty: 1,
  min_tokens: 0,
  ignore_eos: false,
};

/** A member of the body, from our sampling; undefined: it was not given. */
type SamplingMember = readonly [param: string, value: (sampling: Sampling, flavour: Flavour) => unknown];

const samplingMembers: readonly SamplingMember[] = [
  ["temperature", ({ temperature }) => temperature],
  ["top_p", ({ topP }) => topP],
  ["top_k", ({ topK }, flavour) => (topK === undefined || topK > 0 ? topK : flavour.topKOff)],
  ["min_p", ({ minP }) => minP],
  // JSON numbers are exact to 53 bits; the same seed stays the same.
  ["seed", ({ seed }) => (seed === undefined ? undefined : Number(BigInt.asIntN(53, seed)))],
  ["frequency_penalty", ({ frequencyPenalty }) => frequencyPenalty],
  ["presence_penalty", ({ presencePenalty }) => presencePenalty],
  ["repetition_penalty", ({ repetitionPenalty }) => repetitionPenalty],
  ["min_tokens", ({ minTokens }) => minTokens],
  ["stop", ({ stop }) => (stop.length > 0 ? stop : undefined)],
  ["stop_token_ids", ({ stopTokenIds }) => (stopTokenIds.length > 0 ? stopTokenIds : undefined)],
  ["ignore_eos", ({ ignoreEos }) => ignoreEos || undefined],
  ["logit_bias", ({ logitBias }) => (isEmpty(logitBias) ? undefined : logitBias)],
];

/** The first member that has an effect and no place. */
function addSampling(
  body: Record<string, unknown>,
  sampling: Sampling | undefined,
  flavour: Flavour,
): string | undefined {
  if (!sampling) return undefined;
  for (const [param, valueOf] of samplingMembers) {
    const value = valueOf(sampling, flavour);
    if (value === undefined) continue;
    const member = flavour.members[param] ?? param;
    if (member !== "") body[member] = value;
    else if (neutral[param] !== value) return param;
  }
  return undefined;
}

function isEmpty(object: object): boolean {
  for (const _ in object) return false;
  return true;
}

function addChatMembers(body: Record<string, unknown>, request: GenerateRequest, { features }: Flavour): void {
  if (request.logprobs) {
    body["logprobs"] = true;
    body["top_logprobs"] = request.logprobs.top;
  }
  if (request.reasoningEffort !== "") body["reasoning_effort"] = request.reasoningEffort;
  const tools = allowedTools(request.tools, request.toolChoice);
  const takesChoice = features.includes(Feature.TOOL_CHOICE);
  // Who can't be held to call none is not told of any.
  const isHidden = !takesChoice && request.toolChoice?.mode === ToolChoiceMode.NONE;
  if (tools.length === 0 || isHidden) return;
  body["tools"] = tools.map(openaiTool);
  // Said always: the server's own default is not the same everywhere.
  if (takesChoice) body["tool_choice"] = toolChoice(request.toolChoice);
  if (request.parallelToolCalls !== undefined) body["parallel_tool_calls"] = request.parallelToolCalls;
}

function addCompletionMembers(
  body: Record<string, unknown>,
  request: GenerateRequest,
  { logprobsLeast }: Flavour,
): void {
  if (request.logprobs) body["logprobs"] = Math.max(logprobsLeast, request.logprobs.top);
  if (request.echo) body["echo"] = true;
  if (request.suffix !== "") body["suffix"] = request.suffix;
  if (request.bestOf > 1) body["best_of"] = request.bestOf;
}

function responseFormat({ responseFormat: format }: GenerateRequest): unknown {
  if (format?.form.case === "jsonObject") return { type: "json_object" };
  if (format?.form.case !== "jsonSchema") return { type: "text" };
  const { name, description, schemaJson, strict } = format.form.value;
  const schema: Record<string, unknown> = { name };
  if (description !== "") schema["description"] = description;
  if (schemaJson !== "") schema["schema"] = jsonObjectMember(schemaJson, "response_format");
  if (strict !== undefined) schema["strict"] = strict;
  return { type: "json_schema", json_schema: schema };
}
