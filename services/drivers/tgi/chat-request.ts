import {
  type Message,
  Role,
  type Tool,
  type ToolChoice,
  ToolChoiceMode,
} from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt } from "../driver.ts";
import { guideFromExtras } from "../guide.ts";
import { plain } from "../openai/flavours.ts";
import { openaiMessage } from "../openai/messages.ts";
import { allowedTools, openaiTool, toolChoice } from "../openai/tools.ts";
import { chatModel, type TgiInterface } from "./interface.ts";
import { type BuiltBody, grammarOf, placelessOf, stopsForEngine } from "./request.ts";

/** How messages are written: as OpenAI has them, and its templates know no developer. */
const flavour = { ...plain, developerRole: false };

/**
 * Whether a chat is asked to stream. It is whenever it can be, whatever the caller wants: so a server that hangs is
 * found out, and the prompt is counted where a plain answer says that it has no tokens.
 */
export function streamsChat(attempt: Attempt, { streamsCalls }: TgiInterface): boolean {
  return streamsCalls || toolsOf(attempt).length === 0;
}

/** Builds the body of a chat, without its seed. */
export function buildChat(attempt: Attempt, model: TgiInterface): BuiltBody {
  const { request } = attempt;
  const { sampling, logprobs } = request;
  const tools = toolsOf(attempt);
  const { guide, truncate, ignored } = guideFromExtras(request.responseFormat, attempt.extras);
  const placeless =
    placelessOf(sampling) ?? placelessInChat(attempt, truncate, tools.length > 0 && guide !== undefined);
  if (placeless !== undefined) return { kind: "unsupported", param: placeless };
  const grammar = guide && grammarOf(guide);
  if (guide && !grammar) return { kind: "unsupported", param: "structured_outputs" };
  const { temperature, topP = 1, frequencyPenalty } = sampling ?? {};
  const stop = stopsForEngine(sampling, model);
  const maxTokens = attempt.maxTokens || sampling?.maxTokens;
  const body = {
    ...promptOfChat(messagesOf(request.input), tools, request.toolChoice),
    ...(streamsChat(attempt, model) ? { stream: true, stream_options: { include_usage: true } } : { stream: false }),
    ...(temperature === undefined ? {} : { temperature }),
    // It refuses a top_p of 1, and a temperature of 0 beside any other.
    ...(topP < 1 && temperature !== 0 ? { top_p: topP } : {}),
    ...(frequencyPenalty === undefined ? {} : { frequency_penalty: frequencyPenalty }),
    ...(stop.length > 0 ? { stop } : {}),
    ...(maxTokens ? { max_tokens: maxTokens } : {}),
    ...(logprobs ? { logprobs: true, top_logprobs: logprobs.top } : {}),
    ...(grammar ? { response_format: grammar } : {}),
  };
  return { kind: "body", body, ignored };
}

/** The part of a chat that the server's template makes a prompt of. */
export function promptOfChat(messages: readonly Message[], tools: readonly Tool[], choice?: ToolChoice) {
  return {
    model: chatModel,
    messages: messages.flatMap(parted).map(messageOf),
    ...(tools.length > 0 ? { tools: tools.map(toolOf), tool_choice: toolChoice(choice) } : {}),
  };
}

/** A guided answer and function calls are both done by a grammar, of which there is one. */
function placelessInChat({ request }: Attempt, truncate: number, guidedTools: boolean): string | undefined {
  const { topK = 0, repetitionPenalty = 1 } = request.sampling ?? {};
  if (topK > 0) return "top_k";
  // Its own presence_penalty sets it, to two more than is said.
  if (repetitionPenalty !== 1) return "repetition_penalty";
  if (truncate > 0) return "truncate_prompt_tokens";
  if (request.reasoningEffort !== "") return "reasoning_effort";
  return guidedTools ? "response_format" : undefined;
}

function toolsOf({ request }: Attempt): readonly Tool[] {
  if (request.toolChoice?.mode === ToolChoiceMode.NONE) return [];
  return allowedTools(request.tools, request.toolChoice);
}

/** It takes no function without a schema. */
function toolOf(tool: Tool): unknown {
  return openaiTool(tool.parametersJson === "" ? { ...tool, parametersJson: noArguments } : tool);
}

const noArguments = '{"type":"object","properties":{}}';

function messagesOf(input: Attempt["request"]["input"]): readonly Message[] {
  return input.case === "conversation" ? input.value.messages : [];
}

function messageOf(message: Message): unknown {
  const { content, ...rest } = openaiMessage(message, flavour);
  return content === null ? rest : { ...rest, content };
}

/** A message with text and calls loses the calls: it takes either. */
function parted(message: Message): Message[] {
  if (message.role !== Role.ASSISTANT || message.toolCalls.length === 0 || message.parts.length === 0) return [message];
  return [
    { ...message, toolCalls: [] },
    { ...message, parts: [] },
  ];
}
