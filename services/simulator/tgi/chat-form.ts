import { isMembers, type Members } from "../openai/rules.ts";

/** Why a body is no chat, in the words of the server's parser; undefined if it is one. */
export function chatProblem(body: unknown): string | undefined {
  if (!isMembers(body)) return "invalid type: expected struct ChatRequest";
  const { messages, tools } = body;
  if (!Array.isArray(messages)) return "missing field `messages`";
  for (const [at, message] of messages.entries()) {
    const problem = isMembers(message) ? messageProblem(message) : "invalid type: expected struct Message";
    if (problem !== undefined) return `messages[${at}]: ${problem}`;
  }
  if (tools === undefined || tools === null) return undefined;
  if (!Array.isArray(tools)) return "tools: invalid type: expected a sequence";
  for (const [at, tool] of tools.entries()) {
    const problem = isMembers(tool) ? functionProblem(tool) : "invalid type: expected struct Tool";
    if (problem !== undefined) return `tools[${at}]${problem}`;
  }
  return undefined;
}

/** A content or calls: of a message that has both the calls are not read. */
function messageProblem({ content, tool_calls: calls }: Members): string | undefined {
  if (typeof content === "string" || Array.isArray(content)) return undefined;
  const areCalls =
    Array.isArray(calls) && calls.every((call) => isMembers(call) && functionProblem(call) === undefined);
  return areCalls ? undefined : "data did not match any variant of untagged enum MessageBody";
}

/** Of a function that is offered, or called: `arguments` and `parameters` are one member of it. */
function functionProblem({ function: told }: Members): string | undefined {
  if (!isMembers(told)) return ": missing field `function`";
  if (typeof told["name"] !== "string") return ".function: missing field `name`";
  return argumentsOf(told) === undefined ? ".function: missing field `arguments`" : undefined;
}

/** What a function takes, or is called with; undefined: it is not said. */
export function argumentsOf(told: Members): unknown {
  return told["arguments"] ?? told["parameters"];
}
