import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type Tool, ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt } from "../driver.ts";
import { jsonObjectMember } from "../http/json.ts";
import { allowedTools } from "../openai/tools.ts";
import { buildConversation } from "./messages.ts";

/** A body as the API wants it, or the first member that it has nothing for. */
export type BuiltBody =
  | { readonly kind: "body"; readonly body: Readonly<Record<string, unknown>>; readonly ignored: readonly string[] }
  | { readonly kind: "unsupported"; readonly param: string; readonly feature: string };

// The API must be told, and refuses more than the model gives; every model of it gives as many.
const maxTokensFallback = 4_096;

/** Members that have no place, and the values of them that do nothing. */
const placeless: readonly [param: string, hasEffect: (sampling: Sampling) => boolean][] = [
  ["min_p", ({ minP = 0 }) => minP !== 0],
  ["seed", ({ seed }) => seed !== undefined],
  ["frequency_penalty", ({ frequencyPenalty = 0 }) => frequencyPenalty !== 0],
  ["presence_penalty", ({ presencePenalty = 0 }) => presencePenalty !== 0],
  ["repetition_penalty", ({ repetitionPenalty = 1 }) => repetitionPenalty !== 1],
  ["min_tokens", ({ minTokens = 0 }) => minTokens > 0],
  ["stop_token_ids", ({ stopTokenIds }) => stopTokenIds.length > 0],
  ["ignore_eos", ({ ignoreEos }) => ignoreEos],
];

/** Builds the body of one message. Throws INVALID_ARGUMENT for JSON in the request that is none. */
export function buildMessage(attempt: Attempt): BuiltBody {
  const { request, model } = attempt;
  const { sampling } = request;
  const lacking = sampling && placeless.find(([, hasEffect]) => hasEffect(sampling));
  if (lacking) return { kind: "unsupported", param: lacking[0], feature: "" };
  if ((sampling?.temperature ?? 0) > 1) return { kind: "unsupported", param: "temperature", feature: "more than 1" };
  const conversation = buildConversation(request.input.case === "conversation" ? request.input.value.messages : []);
  if (conversation.kind === "unsupported")
    return { kind: "unsupported", param: "messages", feature: conversation.feature };
  const { system, messages } = conversation;
  const body = {
    model: model.engineModel,
    max_tokens: attempt.maxTokens || sampling?.maxTokens || maxTokensFallback,
    ...(system.length > 0 ? { system } : {}),
    messages,
    stream: request.stream,
    ...samplingOf(sampling),
    ...toolsOf(request),
    ...thoughtOf(request),
  };
  return { kind: "body", body, ignored: Object.keys(attempt.extras) };
}

/** Newer models refuse a top_p beside a temperature: where it does nothing it is left out. */
function samplingOf(sampling: Sampling | undefined): Readonly<Record<string, unknown>> {
  const { temperature, topP = 1, topK = 0 } = sampling ?? {};
  const stops = stopsForEngine(sampling);
  return {
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP < 1 ? { top_p: topP } : {}),
    ...(topK > 0 ? { top_k: topK } : {}),
    ...(stops.length > 0 ? { stop_sequences: stops } : {}),
  };
}

/** The API refuses stop texts of white space: those the reader finds. */
function stopsForEngine(sampling: Sampling | undefined): readonly string[] {
  return (sampling?.stop ?? []).filter((stop) => stop.trim() !== "");
}

/** The stop texts that the API does not take. */
export function stopsForReader(sampling: Sampling | undefined): readonly string[] {
  return (sampling?.stop ?? []).filter((stop) => stop.trim() === "");
}

function toolsOf(request: GenerateRequest): Readonly<Record<string, unknown>> {
  const tools = allowedTools(request.tools, request.toolChoice);
  if (tools.length === 0) return {};
  return { tools: tools.map(toolOf), tool_choice: toolChoice(request) };
}

/** A function as the API takes it. Throws INVALID_ARGUMENT for a schema that is no JSON object. */
export function toolOf(tool: Tool): unknown {
  return {
    name: tool.name,
    ...(tool.description === "" ? {} : { description: tool.description }),
    // It takes only objects, and wants that said.
    input_schema: { type: "object", ...jsonObjectMember(tool.parametersJson, "tools") },
    ...(tool.strict === undefined ? {} : { strict: tool.strict }),
  };
}

function toolChoice({ toolChoice: choice, parallelToolCalls }: GenerateRequest): unknown {
  const one = parallelToolCalls === false ? { disable_parallel_tool_use: true } : {};
  switch (choice?.mode) {
    case ToolChoiceMode.NONE:
      return { type: "none" };
    case ToolChoiceMode.REQUIRED:
      return { type: "any", ...one };
    case ToolChoiceMode.FUNCTION:
      return { type: "tool", name: choice.names[0] ?? "", ...one };
    default:
      return { type: "auto", ...one };
  }
}

/** How much it thinks, and the form of the answer: two members of one object. */
function thoughtOf({ reasoningEffort: effort, responseFormat }: GenerateRequest): Readonly<Record<string, unknown>> {
  const form = responseFormat?.form;
  const config = {
    ...(effort === "" || effort === "none" ? {} : { effort: effort === "minimal" ? "low" : effort }),
    ...(form?.case === "jsonSchema"
      ? { format: { type: "json_schema", schema: jsonObjectMember(form.value.schemaJson, "response_format") } }
      : {}),
  };
  return {
    ...(effort === "" ? {} : { thinking: { type: effort === "none" ? "disabled" : "adaptive" } }),
    ...(Object.keys(config).length > 0 ? { output_config: config } : {}),
  };
}
