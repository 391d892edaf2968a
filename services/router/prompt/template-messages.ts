import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import {
  type Message,
  Role,
  type Tool,
  type ToolCall,
  ToolChoiceMode,
} from "../../../gen/ts/weir/router/v1/message_pb.ts";

/** A message, of which only the calls matter here. */
export interface TemplateMessage {
  readonly tool_calls?: readonly TemplateCall[];
  readonly [member: string]: unknown;
}

/** A call of a function. */
export interface TemplateCall {
  readonly function: {
    readonly name: string;
    /** As the model wrote them, or the value that they are. */
    readonly arguments: unknown;
  };
  readonly [member: string]: unknown;
}

/** A conversation as chat templates expect it: the shape that the templates of published models are written for. */
export interface TemplateInput {
  readonly messages: readonly TemplateMessage[];
  /** Undefined where there are none: templates ask `if tools`. */
  readonly tools: readonly Record<string, unknown>[] | undefined;
}

/** Converts the request's conversation, with arguments as they were written. Parts other than text do not come here. */
export function templateInput(request: GenerateRequest, knowsDeveloper: boolean): TemplateInput {
  const messages = request.input.case === "conversation" ? request.input.value.messages : [];
  const tools = toolsOffered(request);
  return {
    messages: messages.map((message) => templateMessage(message, knowsDeveloper)),
    tools: tools.length > 0 ? tools.map(templateTool) : undefined,
  };
}

/** The functions that the model may call: all, those that the choice names, or none. */
export function toolsOffered({ tools, toolChoice }: GenerateRequest): readonly Tool[] {
  if (toolChoice?.mode === ToolChoiceMode.NONE) return [];
  if (!toolChoice || toolChoice.names.length === 0) return tools;
  return tools.filter(({ name }) => toolChoice.names.includes(name));
}

function templateMessage(message: Message, knowsDeveloper: boolean): TemplateMessage {
  const calls = message.toolCalls.length > 0;
  return {
    role: roleName(message.role, knowsDeveloper),
    content: message.parts.length === 0 && calls ? null : textOf(message),
    ...(message.name ? { name: message.name } : {}),
    ...(calls ? { tool_calls: message.toolCalls.map(templateToolCall) } : {}),
    ...(message.toolCallId ? { tool_call_id: message.toolCallId } : {}),
    // Models disagree on the name.
    ...(message.reasoning ? { reasoning_content: message.reasoning, reasoning: message.reasoning } : {}),
  };
}

function roleName(role: Role, knowsDeveloper: boolean): string {
  switch (role) {
    case Role.SYSTEM:
      return "system";
    case Role.DEVELOPER:
      return knowsDeveloper ? "developer" : "system";
    case Role.ASSISTANT:
      return "assistant";
    case Role.TOOL:
      return "tool";
    default:
      return "user";
  }
}

function textOf({ parts }: Message): string {
  const texts: string[] = [];
  for (const { part } of parts) if (part.case === "text" || part.case === "refusal") texts.push(part.value);
  return texts.join("\n");
}

function templateTool(tool: Tool): Record<string, unknown> {
  return {
    type: "function",
    function: {
      name: tool.name,
      description: tool.description,
      parameters: parsed(tool.parametersJson) ?? { type: "object", properties: {} },
    },
  };
}

function templateToolCall(call: ToolCall): TemplateCall {
  return { id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } };
}

/** The same conversation with the arguments of its calls as values, which most templates print as JSON themselves. */
export function withArgumentValues({ messages, tools }: TemplateInput): TemplateInput {
  return { messages: messages.map(messageWithValues), tools };
}

function messageWithValues(message: TemplateMessage): TemplateMessage {
  if (!message.tool_calls) return message;
  const calls = message.tool_calls.map((call) => {
    const { name, arguments: written } = call.function;
    return {
      ...call,
      function: { name, arguments: typeof written === "string" ? (parsed(written) ?? written) : written },
    };
  });
  return { ...message, tool_calls: calls };
}

function parsed(json: string): unknown {
  if (json === "") return undefined;
  try {
    return JSON.parse(json);
  } catch {
    // A model wrote it, and models err: the template gets it as the text that it is.
    return undefined;
  }
}
