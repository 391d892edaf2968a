import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { controlTokens } from "./control-tokens.ts";
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
  return fromSource(readText(path));
}

function fromSource(source: string): ChatTemplateSettings {
  return { source, specialTokens: {}, controlTokens: controlTokens(source, []) };
}

function fromFolder(folder: string): ChatTemplateSettings {
  const config = join(folder, "tokenizer_config.json");
  const jinja = join(folder, "chat_template.jinja");
  const source = existsSync(jinja) ? readText(jinja) : undefined;
  if (existsSync(config)) return fromTokenizerConfig(config, readJson(config), source);
  if (source !== undefined) return fromSource(source);
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
  const special = [...Object.values(specialTokens), ...addedTokens(members)];
  return { source: template, specialTokens, controlTokens: controlTokens(template, special) };
}

/** The tokens that the tokenizer was given beside its vocabulary, of those that it calls special. */
function addedTokens(members: ReadonlyMap<string, unknown>): string[] {
  const additional = members.get("additional_special_tokens");
  const named = Array.isArray(additional) ? (additional as readonly unknown[]) : [];
  const added = [...(membersOf(members.get("added_tokens_decoder"))?.values() ?? [])];
  const special = added.filter((token) => membersOf(token)?.get("special") === true);
  return [...named, ...special].flatMap((token) => (typeof token === "string" ? token : (contentOf(token) ?? [])));
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
