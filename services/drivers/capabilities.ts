import { Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Attempt } from "./driver.ts";

/** Something that a request may want of a model, and the member of the OpenAI request that asks for it. */
interface Need {
  readonly feature: Feature;
  readonly param: string;
  readonly name: string;
  /** Members without effect (n of 1, empty lists) want nothing. */
  readonly wanted: (request: GenerateRequest) => boolean;
}

const need = (feature: Feature, param: string, name: string, wanted: Need["wanted"]): Need => ({
  feature,
  param,
  name,
  wanted,
});

const forcingModes: ReadonlySet<ToolChoiceMode> = new Set([ToolChoiceMode.REQUIRED, ToolChoiceMode.FUNCTION]);

const needs: readonly Need[] = [
  need(Feature.TOKEN_IDS, "prompt", "token ids", ({ input }) => input.case === "tokenIds"),
  need(Feature.IMAGES, "messages", "pictures", (request) => hasPart(request, "image")),
  need(Feature.AUDIO, "messages", "sound", (request) => hasPart(request, "audio")),
  need(
    Feature.TOOLS,
    "tools",
    "function calls",
    ({ tools, toolChoice }) => tools.length > 0 && toolChoice?.mode !== ToolChoiceMode.NONE,
  ),
  need(
    Feature.TOOL_CHOICE,
    "tool_choice",
    "function calls on demand",
    ({ tools, toolChoice }) => tools.length > 0 && toolChoice !== undefined && forcingModes.has(toolChoice.mode),
  ),
  need(Feature.JSON_SCHEMA, "response_format", "json_schema", (request) => formOf(request) === "jsonSchema"),
  need(Feature.JSON_OBJECT, "response_format", "json_object", (request) => formOf(request) === "jsonObject"),
  need(Feature.LOGPROBS, "logprobs", "log probabilities", ({ logprobs }) => logprobs !== undefined),
  need(Feature.CHOICES, "n", "several choices", ({ choices }) => choices > 1),
  need(Feature.BEST_OF, "best_of", "candidates", ({ bestOf, choices }) => bestOf > Math.max(1, choices)),
  need(Feature.ECHO, "echo", "the prompt's echo", ({ echo }) => echo),
  need(Feature.SUFFIX, "suffix", "filling in", ({ suffix }) => suffix !== ""),
  need(Feature.LOGIT_BIAS, "logit_bias", "bias by token id", ({ sampling }) => hasAny(sampling?.logitBias)),
];

function hasPart({ input }: GenerateRequest, kind: "image" | "audio"): boolean {
  if (input.case !== "conversation") return false;
  for (const { parts } of input.value.messages) for (const { part } of parts) if (part.case === kind) return true;
  return false;
}

function formOf({ responseFormat }: GenerateRequest): string | undefined {
  return responseFormat?.form.case;
}

function hasAny(object: object | undefined): boolean {
  for (const _ in object) return true;
  return false;
}

/** Why the attempt's model cannot serve its request; undefined if it can. */
export function missingCapability(attempt: Attempt): WeirError | undefined {
  const { request, model } = attempt;
  for (const { feature, param, name, wanted } of needs) {
    if (wanted(request) && !model.features.includes(feature)) return unsupported(attempt, param, name);
  }
  return undefined;
}

/**
 * The text that the model continues, for protocols that take no other.
 * @throws UNSUPPORTED for what the model lacks.
 */
export function promptOf(attempt: Attempt): string {
  const { input } = attempt.request;
  const text = input.case === "prompt" ? input.value : attempt.prompt;
  const missing = missingCapability(attempt);
  if (missing) throw missing;
  if (text === undefined) throw unsupported(attempt, "messages");
  return text;
}

/** A member that the model's interface has no place for. */
export function unsupported(attempt: Attempt, param: string, feature = ""): WeirError {
  const model = attempt.request.model;
  return fail(ErrorReason.UNSUPPORTED, feature === "" ? { param, model } : { param, feature, model });
}
