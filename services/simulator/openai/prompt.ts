import { textOfIds } from "../text.ts";
import { isMembers } from "./rules.ts";

/** The text of a completion's prompt; undefined if it is none that the simulator takes: one text, or one list of ids. */
export function promptFrom(prompt: unknown): string | undefined {
  if (typeof prompt === "string") return prompt;
  if (!Array.isArray(prompt)) return undefined;
  if (prompt.length === 1 && typeof prompt[0] === "string") return prompt[0];
  const ids = prompt.filter((id) => Number.isSafeInteger(id)).map(Number);
  return ids.length < prompt.length ? undefined : textOfIds(ids);
}

/** The text that a chat template would make of a conversation; undefined if it is none. */
export function promptFromMessages(messages: unknown): string | undefined {
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isMembers)) return undefined;
  return messages.map(({ role, content }) => `<${String(role)}>${textOf(content)}`).join("\n");
}

/** A picture counts as little as its mark: how many tokens it would be is the engine's affair. */
function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .filter(isMembers)
    .map((part) => (typeof part["text"] === "string" ? part["text"] : `<${String(part["type"])}>`))
    .join("");
}
