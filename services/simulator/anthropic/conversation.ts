import { isMembers, type Members } from "../openai/rules.ts";
import { type AnthropicFailure, invalid } from "./failure.ts";

const roles: readonly unknown[] = ["user", "assistant", "system"];
const callIdForm = /^[A-Za-z0-9_-]+$/;

/** The text that the model would see of a conversation, or what the API finds wrong with it. */
export function promptFrom(system: unknown, messages: unknown): string | AnthropicFailure {
  if (!Array.isArray(messages)) return invalid("messages: Field required");
  if (messages.length === 0) return invalid("messages: at least one message is required");
  const lines = system === undefined ? [] : [textOf(system)];
  let calls: readonly string[] = [];
  for (const [at, message] of (messages as unknown[]).entries()) {
    if (!isMembers(message) || !roles.includes(message["role"])) return invalid(`messages.${at}.role: Input is wrong`);
    if (at === 0 && message["role"] === "assistant") return invalid("messages: first message must use the user role");
    const blocks = blocksOf(message["content"]);
    const problem = blocks === undefined ? "content: Input should be a valid list" : problemOf(blocks, calls);
    if (blocks === undefined || problem !== undefined) return invalid(`messages.${at}.${problem}`);
    calls = blocks.filter(({ type }) => type === "tool_use").map(({ id }) => String(id));
    lines.push(`<${String(message["role"])}>${blocks.map(textOfBlock).join("")}`);
  }
  const [last] = messages.slice(-1).filter(isMembers);
  if (last?.["role"] === "assistant" && /\s$/.test(textOf(last["content"])))
    return invalid("messages: final assistant content cannot end with trailing whitespace");
  return lines.join("\n");
}

/**
 * What the API finds wrong where a model thinks on a budget: its last turn, if it called functions, must begin with what it
 * thought. One that thinks adaptively may have its calls without.
 */
export function lacksThought(messages: unknown): string | undefined {
  const turns = (Array.isArray(messages) ? messages : []).filter(isMembers);
  const at = turns.findLastIndex(({ role }) => role === "assistant");
  const blocks = blocksOf(turns[at]?.["content"]) ?? [];
  const [first] = blocks;
  if (!first || !blocks.some(({ type }) => type === "tool_use")) return undefined;
  if (first["type"] === "thinking" || first["type"] === "redacted_thinking") return undefined;
  return `messages.${at}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${String(first["type"])}\`.`;
}

function blocksOf(content: unknown): Members[] | undefined {
  if (typeof content === "string") return [{ type: "text", text: content }];
  return Array.isArray(content) && content.length > 0 && content.every(isMembers) ? content : undefined;
}

/** @param calls ids of functions called in the turn before, which this one has to answer. */
function problemOf(blocks: readonly Members[], calls: readonly string[]): string | undefined {
  const results = blocks.filter(({ type }) => type === "tool_result").map((block) => String(block["tool_use_id"]));
  const unanswered = calls.find((id) => !results.includes(id));
  if (unanswered !== undefined)
    return `content: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${unanswered}`;
  const unasked = results.find((id) => !calls.includes(id));
  if (unasked !== undefined) return `content: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${unasked}`;
  for (const [at, { type, text, id, input }] of blocks.entries()) {
    if (type === "text" && (typeof text !== "string" || text === ""))
      return `content.${at}.text: text content blocks must be non-empty`;
    if (type === "tool_use" && (typeof id !== "string" || !callIdForm.test(id) || !isMembers(input)))
      return `content.${at}.tool_use: Input should be valid`;
  }
  return undefined;
}

function textOfBlock(block: Members): string {
  const { type, text, content, input } = block;
  if (type === "text") return String(text);
  if (type === "tool_result") return textOf(content);
  return type === "tool_use" ? JSON.stringify(input) : `<${String(type)}>`;
}

/** The text of content: a text, or a list of blocks. */
function textOf(content: unknown): string {
  return (blocksOf(content) ?? []).map(textOfBlock).join("");
}
