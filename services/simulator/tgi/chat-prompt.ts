import { promptFromMessages } from "../openai/prompt.ts";
import { isMembers, type Members } from "../openai/rules.ts";
import { argumentsOf } from "./chat-form.ts";

/** The function that is offered beside the others to a model that need not call one. */
const noTool = { name: "no_tool", description: "Open ended response with no specific tool selected" };

/**
 * The text that a template makes of a chat: the functions that may be called, then the messages, of which those without
 * a content are their calls. Undefined if it has no messages.
 */
export function promptOfChat(body: Members): string | undefined {
  const { messages } = body;
  const prompt = promptFromMessages(Array.isArray(messages) ? messages.map(withCalls) : undefined);
  const offered = offeredBy(body);
  if (prompt === undefined || offered.length === 0) return prompt;
  return `<tools>${JSON.stringify(offered)}\n${prompt}`;
}

function withCalls(message: unknown): unknown {
  if (!isMembers(message)) return message;
  const { content, tool_calls: calls } = message;
  return typeof content === "string" || Array.isArray(content)
    ? message
    : { ...message, content: JSON.stringify(calls) };
}

function offeredBy({ tools, tool_choice: choice = "auto" }: Members): readonly object[] {
  if (choice === "none" || !Array.isArray(tools)) return [];
  const functions = tools.filter(isMembers).flatMap(({ function: told }) => (isMembers(told) ? [told] : []));
  const named = isMembers(choice) && isMembers(choice["function"]) ? choice["function"]["name"] : undefined;
  const offered = functions
    .filter(({ name }) => named === undefined || name === named)
    .map((told) => ({ name: told["name"], description: told["description"], arguments: argumentsOf(told) }));
  return choice === "auto" && offered.length > 0 ? [...offered, noTool] : offered;
}
