import { type Tool, type ToolChoice, ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../json/parse.ts";
import { type Draft, ignoreUnknown, type Rule } from "./draft.ts";
import {
  expectArray,
  expectBoolean,
  expectObject,
  expectOneOf,
  expectString,
  optional,
  required,
  wrongType,
} from "./expect.ts";
import { invalid, unsupported } from "./invalid.ts";

/** Tools of a chat request, and how the model may use them; `functions` and `function_call` are their older names. */

const toolsMax = 128;
const toolMembers: ReadonlySet<string> = new Set(["type", "function"]);
const functionMembers: ReadonlySet<string> = new Set(["name", "description", "parameters", "strict"]);
const nameMembers: ReadonlySet<string> = new Set(["name"]);
const nameForm = /^[A-Za-z0-9_-]{1,64}$/;
const textLengthMax = 1_048_576;

export const readTools: Rule = (value, draft, member) => {
  const tools = expectArray(value, member, toolsMax);
  draft.request.tools = tools.map((item, i) => {
    const param = `${member}[${i}]`;
    const tool = expectObject(item, param);
    const type = required(tool, "type", `${param}.type`);
    if (type !== "function") throw otherTool(type, `${param}.type`, draft);
    ignoreUnknown(tool, param, toolMembers, draft);
    return toolFrom(expectObject(tool["function"], `${param}.function`), `${param}.function`, draft);
  });
  requireDistinct(draft.request.tools, (i) => `${member}[${i}].function.name`);
};

export const readFunctions: Rule = (value, draft, member) => {
  if ((draft.body["tools"] ?? null) !== null)
    throw invalid(member, "conflicting_parameters", "must not be given beside `tools`");
  const functions = expectArray(value, member, toolsMax, 1);
  draft.functionCalls = true;
  draft.request.parallelToolCalls = false;
  draft.request.tools = functions.map((item, i) =>
    toolFrom(expectObject(item, `${member}[${i}]`), `${member}[${i}]`, draft),
  );
  requireDistinct(draft.request.tools, (i) => `${member}[${i}].name`);
};

/** Tools that run at OpenAI, and those with a free-form input. */
function otherTool(type: JsonValue, param: string, draft: Draft): Error {
  const hosted = [
    "custom",
    "web_search",
    "web_search_preview",
    "file_search",
    "code_interpreter",
    "mcp",
    "image_generation",
    "computer_use_preview",
  ];
  if (typeof type === "string" && hosted.includes(type))
    return unsupported(param, `${type} tools`, draft.request.model);
  return invalid(param, "invalid_value", "must be function");
}

function toolFrom(from: JsonObject, param: string, draft: Draft): Tool {
  ignoreUnknown(from, param, functionMembers, draft);
  const name = expectName(required(from, "name", `${param}.name`), `${param}.name`);
  const description = optional(from, "description");
  const parameters = optional(from, "parameters");
  const strict = optional(from, "strict");
  if (parameters !== undefined && !isJsonObject(parameters))
    throw wrongType(parameters, `${param}.parameters`, "an object");
  return {
    $typeName: "weir.router.v1.Tool",
    name,
    description: description === undefined ? "" : expectString(description, `${param}.description`, textLengthMax),
    parametersJson:
      parameters === undefined ? "" : expectString(JSON.stringify(parameters), `${param}.parameters`, textLengthMax),
    strict: strict === undefined ? undefined : expectBoolean(strict, `${param}.strict`),
  };
}

function expectName(value: JsonValue, param: string): string {
  const name = expectString(value, param, 64, 1);
  if (!nameForm.test(name)) throw invalid(param, "invalid_value", "must be of letters, digits, _ and -");
  return name;
}

function requireDistinct(tools: readonly Tool[], param: (index: number) => string): void {
  const seen = new Set<string>();
  for (const [i, tool] of tools.entries()) {
    if (seen.has(tool.name)) throw invalid(param(i), "invalid_value", "must not come twice");
    seen.add(tool.name);
  }
}

const modes: ReadonlyMap<JsonValue, ToolChoiceMode> = new Map([
  ["none", ToolChoiceMode.NONE],
  ["auto", ToolChoiceMode.AUTO],
  ["required", ToolChoiceMode.REQUIRED],
]);

export const readToolChoice: Rule = (value, draft, member) => {
  draft.request.toolChoice =
    typeof value === "string" ? modeChoice(value, member) : objectChoice(expectObject(value, member), member, draft);
};

function modeChoice(value: string, param: string): ToolChoice {
  const mode = modes.get(value);
  if (mode === undefined) throw invalid(param, "invalid_value", "must be none, auto, required or an object");
  return choice(mode, []);
}

function objectChoice(from: JsonObject, param: string, draft: Draft): ToolChoice {
  switch (required(from, "type", `${param}.type`)) {
    case "function":
      return choice(ToolChoiceMode.FUNCTION, [namedFunction(from, param, draft)]);
    case "allowed_tools":
      ignoreUnknown(from, param, allowedMembers, draft);
      return allowedTools(
        expectObject(from["allowed_tools"], `${param}.allowed_tools`),
        `${param}.allowed_tools`,
        draft,
      );
    case "custom":
      throw unsupported(`${param}.type`, "custom tools", draft.request.model);
    default:
      throw invalid(`${param}.type`, "invalid_value", "must be function or allowed_tools");
  }
}

function allowedTools(from: JsonObject, param: string, draft: Draft): ToolChoice {
  const mode = expectOneOf(required(from, "mode", `${param}.mode`), `${param}.mode`, ["auto", "required"]);
  const names = expectArray(required(from, "tools", `${param}.tools`), `${param}.tools`, toolsMax, 1).map((item, i) => {
    const at = `${param}.tools[${i}]`;
    const tool = expectObject(item, at);
    if (tool["type"] !== "function") throw otherTool(tool["type"] ?? null, `${at}.type`, draft);
    return namedFunction(tool, at, draft);
  });
  ignoreUnknown(from, param, allowanceMembers, draft);
  return choice(mode === "auto" ? ToolChoiceMode.AUTO : ToolChoiceMode.REQUIRED, names);
}

const allowedMembers: ReadonlySet<string> = new Set(["type", "allowed_tools"]);
const allowanceMembers: ReadonlySet<string> = new Set(["mode", "tools"]);

/** The name in {"type": "function", "function": {"name": ...}}. */
function namedFunction(from: JsonObject, param: string, draft: Draft): string {
  const named = expectObject(from["function"], `${param}.function`);
  ignoreUnknown(from, param, toolMembers, draft);
  ignoreUnknown(named, `${param}.function`, nameMembers, draft);
  return expectName(required(named, "name", `${param}.function.name`), `${param}.function.name`);
}

export const readFunctionCall: Rule = (value, draft, member) => {
  if ((draft.body["functions"] ?? null) === null) throw invalid(member, "invalid_value", "goes with `functions` only");
  if (typeof value === "string") {
    draft.request.toolChoice = modeChoice(expectOneOf(value, member, ["none", "auto"]), member);
  } else {
    const named = expectObject(value, member);
    ignoreUnknown(named, member, nameMembers, draft);
    const name = expectName(required(named, "name", `${member}.name`), `${member}.name`);
    draft.request.toolChoice = choice(ToolChoiceMode.FUNCTION, [name]);
  }
};

function choice(mode: ToolChoiceMode, names: string[]): ToolChoice {
  return { $typeName: "weir.router.v1.ToolChoice", mode, names };
}

/** A choice names functions that are there. */
export function checkToolChoice(draft: Draft): void {
  const { toolChoice, tools } = draft.request;
  if (toolChoice === undefined) return;
  const member = draft.functionCalls ? "function_call" : "tool_choice";
  const unknown = toolChoice.names.find((name) => !tools.some((tool) => tool.name === name));
  if (unknown !== undefined) throw invalid(member, "invalid_value", "must name a function of this request");
  if (tools.length === 0 && toolChoice.mode === ToolChoiceMode.REQUIRED) {
    throw invalid(member, "invalid_value", "goes with `tools` only");
  }
}
