import {
  type Conversation,
  type Message,
  type Part,
  Role,
  type ToolCall,
} from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { JsonObject, JsonValue } from "../json/parse.ts";
import { assistantParts, partsFromContent, refusalPart, textOnly, userParts } from "./chat-parts.ts";
import { type Draft, extrasJson, ignoreUnknown } from "./draft.ts";
import { expectArray, expectObject, expectString, missing, optional, required } from "./expect.ts";
import { invalid, unsupported } from "./invalid.ts";

/**
 * A conversation from `messages`. Each call of a tool is answered before anyone else speaks, as models were taught: the
 * calls of the last assistant message that still wait for their answer are `waiting`.
 */
export function conversationFrom(value: JsonValue, draft: Draft): Conversation {
  const items = expectArray(value, "messages", messagesMax, 1);
  let waiting: Waiting = { calls: [], param: "" };
  const messages = items.map((item, i) => {
    const param = `messages[${i}]`;
    const message = messageFrom(expectObject(item, param), param, draft, waiting);
    if (message.role !== Role.TOOL) {
      requireAnswered(waiting);
      waiting = { calls: message.toolCalls.slice(), param: `${param}.tool_calls` };
    }
    return message;
  });
  requireAnswered(waiting);
  return { $typeName: "weir.router.v1.Conversation", messages };
}

/** The contract's bound. */
const messagesMax = 10_000;
const nameLengthMax = 256;
const toolCallsMax = 128;
const argumentsLengthMax = 1_048_576;
const reasoningLengthMax = 8_388_608;

interface Waiting {
  readonly calls: ToolCall[];
  readonly param: string;
}

function requireAnswered(waiting: Waiting): void {
  if (waiting.calls.length === 0) return;
  throw invalid(
    waiting.param,
    "invalid_tool_call_id",
    "must each be answered by a tool message that follows with its `tool_call_id`",
  );
}

function messageFrom(from: JsonObject, param: string, draft: Draft, waiting: Waiting): Message {
  switch (required(from, "role", `${param}.role`)) {
    case "system":
      return spoken(Role.SYSTEM, from, param, textOnly, draft);
    case "developer":
      return spoken(Role.DEVELOPER, from, param, textOnly, draft);
    case "user":
      return spoken(Role.USER, from, param, userParts, draft);
    case "assistant":
      return assistantMessage(from, param, draft);
    case "tool":
      return toolMessage(from, param, draft, waiting);
    case "function":
      return functionMessage(from, param, draft, waiting);
    default:
      throw invalid(
        `${param}.role`,
        "invalid_value",
        "must be one of developer, system, user, assistant, tool, function",
      );
  }
}

function spoken(role: Role, from: JsonObject, param: string, allowed: ReadonlySet<string>, draft: Draft): Message {
  const message = emptyMessage(role, from, param, spokenMembers, draft);
  message.parts = contentOf(from, param, allowed, draft);
  return message;
}

function contentOf(from: JsonObject, param: string, allowed: ReadonlySet<string>, draft: Draft): Part[] {
  const content = from["content"];
  if (content === undefined) throw missing(`${param}.content`);
  return partsFromContent(content, `${param}.content`, allowed, draft);
}

function assistantMessage(from: JsonObject, param: string, draft: Draft): Message {
  const message = emptyMessage(Role.ASSISTANT, from, param, assistantMembers, draft);
  const content = optional(from, "content");
  const refusal = optional(from, "refusal");
  const reasoning = optional(from, "reasoning") ?? optional(from, "reasoning_content");
  const called = optional(from, "function_call");
  if (optional(from, "audio") !== undefined)
    throw unsupported(`${param}.audio`, "sound that was generated before", draft.request.model);
  if (content !== undefined) message.parts = partsFromContent(content, `${param}.content`, assistantParts, draft);
  if (refusal !== undefined)
    message.parts.push(refusalPart(expectString(refusal, `${param}.refusal`, argumentsLengthMax)));
  if (reasoning !== undefined) message.reasoning = expectString(reasoning, `${param}.reasoning`, reasoningLengthMax);
  message.toolCalls = toolCallsFrom(optional(from, "tool_calls"), `${param}.tool_calls`, draft);
  // A function called the old way has no id: its name stands for it.
  if (called !== undefined)
    message.toolCalls.push(
      functionCallFrom(expectObject(called, `${param}.function_call`), `${param}.function_call`, draft),
    );
  if (message.parts.length === 0 && message.toolCalls.length === 0) {
    throw invalid(`${param}.content`, "missing_required_parameter", "is required where there are no `tool_calls`");
  }
  return message;
}

function toolCallsFrom(value: JsonValue | undefined, param: string, draft: Draft): ToolCall[] {
  if (value === undefined) return [];
  return expectArray(value, param, toolCallsMax).map((item, i) => {
    const at = `${param}[${i}]`;
    const call = expectObject(item, at);
    const type = optional(call, "type") ?? "function";
    if (type === "custom") throw unsupported(`${at}.type`, "custom tools", draft.request.model);
    if (type !== "function") throw invalid(`${at}.type`, "invalid_value", "must be function");
    const id = expectString(required(call, "id", `${at}.id`), `${at}.id`, nameLengthMax, 1);
    ignoreUnknown(call, at, callMembers, draft);
    return { ...functionCallFrom(expectObject(call["function"], `${at}.function`), `${at}.function`, draft), id };
  });
}

function functionCallFrom(called: JsonObject, param: string, draft: Draft): ToolCall {
  ignoreUnknown(called, param, calledMembers, draft);
  const name = expectString(required(called, "name", `${param}.name`), `${param}.name`, nameLengthMax, 1);
  const given = required(called, "arguments", `${param}.arguments`);
  return {
    $typeName: "weir.router.v1.ToolCall",
    id: name,
    name,
    arguments: expectString(given, `${param}.arguments`, argumentsLengthMax),
  };
}

function toolMessage(from: JsonObject, param: string, draft: Draft, waiting: Waiting): Message {
  const message = emptyMessage(Role.TOOL, from, param, toolMembers, draft);
  const id = optional(from, "tool_call_id");
  if (id === undefined) throw invalid(`${param}.tool_call_id`, "invalid_tool_call_id", "is required");
  message.toolCallId = expectString(id, `${param}.tool_call_id`, nameLengthMax, 1);
  answer(message.toolCallId, `${param}.tool_call_id`, waiting);
  message.parts = contentOf(from, param, textOnly, draft);
  return message;
}

function functionMessage(from: JsonObject, param: string, draft: Draft, waiting: Waiting): Message {
  const message = emptyMessage(Role.TOOL, from, param, spokenMembers, draft);
  if (message.name === "") throw missing(`${param}.name`);
  message.toolCallId = message.name;
  answer(message.name, `${param}.name`, waiting);
  message.parts = contentOf(from, param, textOnly, draft);
  return message;
}

function answer(id: string, param: string, waiting: Waiting): void {
  const index = waiting.calls.findIndex((call) => call.id === id);
  if (index < 0) throw invalid(param, "invalid_tool_call_id", "answers no call of the assistant message before it");
  waiting.calls.splice(index, 1);
}

/** `index` comes back from clients that put a stream's fragments together: the list says it as well. */
const callMembers: ReadonlySet<string> = new Set(["id", "type", "function", "index"]);
const calledMembers: ReadonlySet<string> = new Set(["name", "arguments"]);
const spokenMembers: ReadonlySet<string> = new Set(["role", "content", "name"]);
const toolMembers: ReadonlySet<string> = new Set(["role", "content", "name", "tool_call_id"]);
/** `annotations` comes back from clients that send an answer on as it was. */
const assistantMembers: ReadonlySet<string> = new Set([
  ...spokenMembers,
  "refusal",
  "tool_calls",
  "function_call",
  "audio",
  "reasoning",
  "reasoning_content",
  "annotations",
]);

function emptyMessage(role: Role, from: JsonObject, param: string, known: ReadonlySet<string>, draft: Draft): Message {
  const name = optional(from, "name");
  return {
    $typeName: "weir.router.v1.Message",
    role,
    parts: [],
    name: name === undefined ? "" : expectString(name, `${param}.name`, nameLengthMax),
    toolCalls: [],
    toolCallId: "",
    reasoning: "",
    extrasJson: unknownMembers(from, param, known, draft),
  };
}

function unknownMembers(from: JsonObject, param: string, known: ReadonlySet<string>, draft: Draft): string {
  let carried: Map<string, JsonValue> | undefined;
  for (const member in from) {
    const value = from[member];
    if (known.has(member) || value === null || value === undefined) continue;
    if (draft.strict) throw invalid(`${param}.${member}`, "unknown_parameter", "is not known here: leave it out");
    carried ??= new Map();
    carried.set(member, value);
  }
  return carried === undefined ? "" : extrasJson(carried, param);
}
