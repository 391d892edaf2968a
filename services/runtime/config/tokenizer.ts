import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Tokenizer } from "tokenizers";
import type { TokenizerSettings } from "./settings.ts";
import { membersOf, tokenDecoderOf } from "./token-decoder.ts";

/** Three times the largest that is published. */
const tokenizerBytesMax = 100_663_296;

/**
 * Reads a tokenizer once, to hold it against its digest and to see that it can be used. Throws an Error that says what to
 * do.
 *
 * @param path a tokenizer.json, or a folder with one.
 * @param sha256 undefined: any.
 */
export function readTokenizer(path: string, sha256: string | undefined): TokenizerSettings {
  const file = fileAt(path);
  const bytes = readFileSync(file);
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (sha256 !== undefined && sha256 !== digest)
    throw new Error(`${file} has the SHA-256 ${digest}, not the one that is written here`);
  const text = bytes.toString("utf8");
  const tokenizer = parsed(file, text);
  const members = membersOf(JSON.parse(text));
  const decoder = tokenDecoderOf(members?.get("decoder"));
  if (typeof decoder === "string")
    throw new Error(`${file} decodes with ${decoder}, from which no text can be streamed`);
  const config = membersOf(readJson(join(dirname(file), "tokenizer_config.json")));
  const generation = membersOf(readJson(join(dirname(file), "generation_config.json")));
  const idOf = (name: string) => tokenId(tokenizer, config?.get(name));
  const ends = [idOf("eos_token"), ...numbersOf(generation?.get("eos_token_id"))];
  return {
    path: file,
    sha256: digest,
    endIds: [...new Set(ends.filter((id) => id !== undefined))],
    padId: idOf("pad_token") ?? numbersOf(generation?.get("pad_token_id"))[0],
    specialTokens: specialTokens(members?.get("added_tokens")),
  };
}

function specialTokens(added: unknown): string[] {
  const tokens = Array.isArray(added) ? (added as readonly unknown[]) : [];
  return tokens.flatMap((token) => {
    const members = membersOf(token);
    return members?.get("special") === true ? [String(members.get("content"))] : [];
  });
}

function fileAt(path: string): string {
  if (!existsSync(path)) throw new Error(`${path} does not exist; name a tokenizer.json or a folder with one`);
  const file = statSync(path).isDirectory() ? join(path, "tokenizer.json") : path;
  if (!existsSync(file)) throw new Error(`${path} has no tokenizer.json`);
  const { size } = statSync(file);
  if (size > tokenizerBytesMax)
    throw new Error(`${file} has ${size} bytes; a tokenizer has at most ${tokenizerBytesMax}`);
  return file;
}

function parsed(file: string, text: string): Tokenizer {
  try {
    return Tokenizer.fromString(text);
  } catch (error) {
    const problem = error instanceof Error ? error.message : "unknown";
    throw new Error(`${file} is no tokenizer.json: ${problem}`, { cause: error });
  }
}

function readJson(file: string): unknown {
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new Error(`${file} is not JSON`, { cause: error });
  }
}

/** A token is written as its text, or as an object with it. */
function tokenId(tokenizer: Tokenizer, token: unknown): number | undefined {
  const text = typeof token === "string" ? token : membersOf(token)?.get("content");
  return typeof text === "string" ? (tokenizer.tokenToId(text) ?? undefined) : undefined;
}

function numbersOf(value: unknown): number[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((one) => typeof one === "number" && Number.isInteger(one) && one >= 0).map(Number);
}
