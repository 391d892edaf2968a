import { type Message, type Part, Role, type ToolCall } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { Flavour } from "./flavours.ts";
import { jsonMember, jsonObjectMember } from "../http/json.ts";

const roles: Readonly<Record<Role, string>> = {
  [Role.UNSPECIFIED]: "user",
  [Role.SYSTEM]: "system",
  [Role.DEVELOPER]: "developer",
  [Role.USER]: "user",
  [Role.ASSISTANT]: "assistant",
  [Role.TOOL]: "tool",
};

/** A message as OpenAI writes it. */
export function openaiMessage(message: Message, flavour: Flavour): Record<string, unknown> {
  const written: Record<string, unknown> =
    message.extrasJson === "" ? {} : { ...jsonObjectMember(message.extrasJson, "messages") };
  const known = message.role !== Role.DEVELOPER || flavour.developerRole;
  written["role"] = known ? roles[message.role] : "system";
  written["content"] = content(message);
  if (message.name !== "") written["name"] = message.name;
  if (message.toolCalls.length > 0) written["tool_calls"] = message.toolCalls.map(toolCall);
  if (message.toolCallId !== "") written["tool_call_id"] = message.toolCallId;
  if (message.reasoning !== "") for (const member of flavour.reasoningMembers) written[member] = message.reasoning;
  return written;
}

/** One text is a string, as every server takes it; anything else is a list of parts. */
function content(message: Message): unknown {
  const { parts } = message;
  const [first] = parts;
  if (!first) return message.toolCalls.length > 0 ? null : "";
  if (parts.length === 1 && first.part.case === "text") return first.part.value;
  return parts.map(openaiPart);
}

function openaiPart({ part }: Part): unknown {
  switch (part.case) {
    case "text":
      return { type: "text", text: part.value };
    case "image": {
      const { url, detail } = part.value;
      return { type: "image_url", image_url: detail === "" ? { url } : { url, detail } };
    }
    case "audio":
      return { type: "input_audio", input_audio: { data: part.value.dataBase64, format: part.value.format } };
    case "file": {
      const { dataUrl, fileId, filename } = part.value;
      const file: Record<string, string> = {};
      if (dataUrl !== "") file["file_data"] = dataUrl;
      if (fileId !== "") file["file_id"] = fileId;
      if (filename !== "") file["filename"] = filename;
      return { type: "file", file };
    }
    case "refusal":
      return { type: "refusal", refusal: part.value };
    case "unknownJson":
      return jsonMember(part.value, "messages");
    case undefined:
      return { type: "text", text: "" };
  }
}

function toolCall(call: ToolCall): unknown {
  return { id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } };
}
