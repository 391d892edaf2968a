import type { JsonValue } from "../json/parse.ts";
import { expectString, wrongType } from "./expect.ts";
import { invalid } from "./invalid.ts";
import { int32Max } from "./shared-rules.ts";

const itemsMax = 2_048;
const textLengthMax = 8_388_608;
const tokenIdsMax = 2_000_000;

/** One text, or one list of token ids. */
export type TextOrTokens =
  | { readonly case: "text"; readonly text: string }
  | { readonly case: "tokenIds"; readonly ids: number[] };

/** The four forms of a prompt or an input: text, texts, token ids, and lists of token ids. */
export function inputForms(value: JsonValue, param: string): TextOrTokens[] {
  if (typeof value === "string") return [textFrom(value, param)];
  if (!Array.isArray(value)) throw wrongType(value, param, "a string or an array");
  const items = value as readonly JsonValue[];
  if (items.length === 0) throw invalid(param, "array_below_min_length", "must not be empty");
  if (typeof items[0] === "number") return [tokensFrom(items, param)];
  if (items.length > itemsMax) throw invalid(param, "array_above_max_length", `must have at most ${itemsMax} items`);
  const read = typeof items[0] === "string" ? textFrom : tokensFrom;
  return items.map((item, i) => read(item, `${param}[${i}]`));
}

function textFrom(value: JsonValue, param: string): TextOrTokens {
  return { case: "text", text: expectString(value, param, textLengthMax, 1) };
}

function tokensFrom(value: JsonValue, param: string): TextOrTokens {
  if (!Array.isArray(value)) throw wrongType(value, param, "an array of token ids");
  const ids = value as readonly JsonValue[];
  if (ids.length === 0) throw invalid(param, "array_below_min_length", "must not be empty");
  if (ids.length > tokenIdsMax)
    throw invalid(param, "array_above_max_length", `must have at most ${tokenIdsMax} token ids`);
  for (const id of ids) {
    if (typeof id === "string") throw invalid(param, "invalid_type", "must not mix texts and token ids");
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > int32Max) {
      throw invalid(param, "invalid_token_id", "must be token ids: whole numbers from 0");
    }
  }
  return { case: "tokenIds", ids: ids as number[] };
}
