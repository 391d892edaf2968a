import { type Tool, type ToolChoice, ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { jsonObjectMember } from "../http/json.ts";

/** Servers know no list of allowed functions: the others are left out instead. */
export function allowedTools(tools: readonly Tool[], choice: ToolChoice | undefined): readonly Tool[] {
  const restricts = choice?.mode === ToolChoiceMode.AUTO || choice?.mode === ToolChoiceMode.REQUIRED;
  if (!restricts || choice.names.length === 0) return tools;
  return tools.filter((tool) => choice.names.includes(tool.name));
}

/** A function as OpenAI writes it. Throws INVALID_ARGUMENT for a schema that is no JSON object. */
export function openaiTool(tool: Tool): unknown {
  const written: Record<string, unknown> = { name: tool.name };
  if (tool.description !== "") written["description"] = tool.description;
  if (tool.parametersJson !== "") written["parameters"] = jsonObjectMember(tool.parametersJson, "tools");
  if (tool.strict !== undefined) written["strict"] = tool.strict;
  return { type: "function", function: written };
}

/** A choice of functions as OpenAI writes it. */
export function toolChoice(choice: ToolChoice | undefined): unknown {
  switch (choice?.mode) {
    case ToolChoiceMode.NONE:
      return "none";
    case ToolChoiceMode.REQUIRED:
      return "required";
    case ToolChoiceMode.FUNCTION:
      return { type: "function", function: { name: choice.names[0] ?? "" } };
    default:
      return "auto";
  }
}
