import { Feature } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Attempt } from "./driver.ts";

/** Something that a request wants of a model, and the member of the OpenAI request that asks for it. */
export interface Need {
  readonly feature: Feature;
  readonly param: string;
  readonly name: string;
}

/** What the model must be able to do for this request. Members without effect (n of 1, empty lists) want nothing. */
function needsOf(request: GenerateRequest): Need[] {
  const needs: Need[] = [];
  const need = (feature: Feature, param: string, name: string) => needs.push({ feature, param, name });
  if (request.input.case === "tokenIds") need(Feature.TOKEN_IDS, "prompt", "token ids");
  if (request.input.case === "conversation") {
    const kinds = new Set<string | undefined>();
    for (const message of request.input.value.messages) for (const part of message.parts) kinds.add(part.part.case);
    if (kinds.has("image")) need(Feature.IMAGES, "messages", "pictures");
    if (kinds.has("audio")) need(Feature.AUDIO, "messages", "sound");
  }
  if (request.tools.length > 0 && request.toolChoice?.mode !== ToolChoiceMode.NONE)
    need(Feature.TOOLS, "tools", "function calls");
  const form = request.responseFormat?.form.case;
  if (form === "jsonSchema") need(Feature.JSON_SCHEMA, "response_format", "json_schema");
  if (form === "jsonObject") need(Feature.JSON_OBJECT, "response_format", "json_object");
  if (request.logprobs) need(Feature.LOGPROBS, "logprobs", "log probabilities");
  if (request.choices > 1) need(Feature.CHOICES, "n", "several choices");
  if (request.bestOf > Math.max(1, request.choices)) need(Feature.BEST_OF, "best_of", "candidates");
  if (request.echo) need(Feature.ECHO, "echo", "the prompt's echo");
  if (request.suffix !== "") need(Feature.SUFFIX, "suffix", "filling in");
  if (request.sampling && Object.keys(request.sampling.logitBias).length > 0)
    need(Feature.LOGIT_BIAS, "logit_bias", "bias by token id");
  return needs;
}

/** Why the attempt's model cannot serve its request; undefined if it can. */
export function missingCapability(attempt: Attempt): WeirError | undefined {
  const missing = needsOf(attempt.request).find((need) => !attempt.model.features.includes(need.feature));
  return missing && unsupported(attempt, missing.param, missing.name);
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
