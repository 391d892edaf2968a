import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ChatTemplateSettings } from "./settings.ts";

/** A longer one is no chat template. */
const templateBytesMax = 1_048_576;

/**
 * Reads a chat template: a jinja file, or a tokenizer folder with `chat_template.jinja` or `tokenizer_config.json`.
 * The folder also tells the texts of the special tokens. Throws an Error that says what to do.
 */
export function readChatTemplate(path: string): ChatTemplateSettings {
  if (!existsSync(path)) throw new Error(`${path} does not exist; name a jinja file or a tokenizer folder`);
  if (statSync(path).isDirectory()) return fromFolder(path);
  if (path.endsWith(".json")) return fromTokenizerConfig(path, readJson(path), undefined);
  return { source: readText(path), specialTokens: {} };
}

function fromFolder(folder: string): ChatTemplateSettings {
  const config = join(folder, "tokenizer_config.json");
  const jinja = join(folder, "chat_template.jinja");
  const source = existsSync(jinja) ? readText(jinja) : undefined;
  if (existsSync(config)) return fromTokenizerConfig(config, readJson(config), source);
  if (source !== undefined) return { source, specialTokens: {} };
  throw new Error(`${folder} has neither chat_template.jinja nor tokenizer_config.json`);
}

function fromTokenizerConfig(path: string, config: unknown, source: string | undefined): ChatTemplateSettings {
  const members = membersOf(config);
  if (members === undefined) throw new Error(`${path} is not a JSON object`);
  const template = source ?? templateOf(members.get("chat_template"));
  if (template === undefined) throw new Error(`${path} has no chat_template; name a jinja file instead`);
  const specialTokens: Record<string, string> = {};
  for (const [name, value] of members) {
    if (!name.endsWith("_token")) continue;
    const text = typeof value === "string" ? value : contentOf(value);
    if (text !== undefined) specialTokens[name] = text;
  }
  return { source: template, specialTokens };
}

/** One template, or a list of named ones, of which `default` is meant. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  for (const entry of value as readonly unknown[]) {
    const named = membersOf(entry);
    const template = named?.get("template");
    if (named?.get("name") === "default" && typeof template === "string") return template;
  }
  return undefined;
}

function contentOf(value: unknown): string | undefined {
  const content = membersOf(value)?.get("content");
  return typeof content === "string" ? content : undefined;
}

function membersOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  return typeof value === "object" && value !== null ? new Map<string, unknown>(Object.entries(value)) : undefined;
}

function readText(path: string): string {
  const bytes = statSync(path).size;
  if (bytes > templateBytesMax)
    throw new Error(`${path} has ${bytes} bytes; a chat template has at most ${templateBytesMax}`);
  return readFileSync(path, "utf8");
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} is not JSON`, { cause: error });
  }
}
