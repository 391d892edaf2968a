import { type Message, type Part, Role } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { jsonObjectMember } from "../http/json.ts";

/** A block of content, as the API has them. */
export type Block = Readonly<Record<string, unknown>>;

/** A conversation as the API takes it, or the first part that it has nothing for. */
export type BuiltConversation =
  | { readonly kind: "conversation"; readonly system: readonly Block[]; readonly messages: readonly Turn[] }
  | { readonly kind: "unsupported"; readonly feature: string };

/** What one side says in its turn. */
export interface Turn {
  readonly role: "user" | "assistant" | "system";
  readonly content: readonly Block[];
}

/** A part that the API has nothing for. */
class Placeless extends Error {}

/**
 * Builds a conversation: instructions at its beginning stand apart from it, results of functions are the user's, and one
 * side's messages in a row are one turn. Throws INVALID_ARGUMENT for JSON in it that is none.
 */
export function buildConversation(messages: readonly Message[]): BuiltConversation {
  const begin = messages.findIndex(({ role }) => !isInstruction(role));
  const leading = begin < 0 ? messages : messages.slice(0, begin);
  try {
    const turns: { role: Turn["role"]; content: Block[] }[] = [];
    for (const message of messages.slice(leading.length)) {
      const { role, content } = turnOf(message);
      const last = turns.at(-1);
      // The API takes no turn without content.
      if (content.length === 0) continue;
      if (last?.role === role) last.content.push(...content);
      else turns.push({ role, content: [...content] });
    }
    return { kind: "conversation", system: leading.flatMap(({ parts }) => parts.flatMap(blocksOf)), messages: turns };
  } catch (thrown) {
    if (thrown instanceof Placeless) return { kind: "unsupported", feature: thrown.message };
    throw thrown;
  }
}

function isInstruction(role: Role): boolean {
  return role === Role.SYSTEM || role === Role.DEVELOPER;
}

function turnOf(message: Message): Turn {
  const content = message.parts.flatMap(blocksOf);
  if (message.role === Role.TOOL) {
    const result = { type: "tool_result", tool_use_id: callId(message.toolCallId) };
    return { role: "user", content: [content.length === 0 ? result : { ...result, content }] };
  }
  if (message.role !== Role.ASSISTANT) return { role: isInstruction(message.role) ? "system" : "user", content };
  // What it thought can't be given back: the API takes only thought that it has signed.
  const calls = message.toolCalls.map(({ id, name, arguments: text }) => ({
    type: "tool_use",
    id: callId(id),
    name,
    input: jsonObjectMember(text, "messages"),
  }));
  return { role: "assistant", content: [...content, ...calls] };
}

/** Ids that other engines gave hold characters that this API does not take. */
function callId(id: string): string {
  return id.replace(/[^A-Za-z0-9_-]/g, "_");
}

function blocksOf({ part }: Part): Block[] {
  switch (part.case) {
    case "text":
    case "refusal":
      return part.value === "" ? [] : [{ type: "text", text: part.value }];
    case "image":
      return [{ type: "image", source: sourceOf(part.value.url) }];
    case "file":
      return [documentOf(part.value.dataUrl, part.value.filename)];
    case undefined:
      return [];
    default:
      throw new Placeless(part.case === "audio" ? "sound" : "parts other than text, pictures and documents");
  }
}

const dataUrl = /^data:([\w.+-]+\/[\w.+-]+)(;[^,]*)?,(.*)$/s;

function sourceOf(url: string): Block {
  const [, type = "", flags = "", data = ""] = dataUrl.exec(url) ?? [];
  if (type === "") return { type: "url", url };
  if (!flags.endsWith(";base64")) throw new Placeless("pictures that are not in base64");
  return { type: "base64", media_type: type, data };
}

function documentOf(url: string, filename: string): Block {
  const [, type = "", flags = "", data = ""] = dataUrl.exec(url) ?? [];
  const title = filename === "" ? {} : { title: filename };
  if (!flags.endsWith(";base64")) throw new Placeless("documents other than data URLs in base64");
  if (type === "application/pdf")
    return { type: "document", source: { type: "base64", media_type: type, data }, ...title };
  if (!type.startsWith("text/")) throw new Placeless("documents other than PDF and text");
  const text = Buffer.from(data, "base64").toString("utf8");
  return { type: "document", source: { type: "text", media_type: "text/plain", data: text }, ...title };
}
