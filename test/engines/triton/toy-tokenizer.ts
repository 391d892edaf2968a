import { readFileSync } from "node:fs";
import { join } from "node:path";
import { byteAlphabet } from "../../../services/drivers/tokens/vocabulary.ts";

/** The token of the toy that ends a text. */
export const toyEndId = 2;

/** The toy's tokenizer (`python/toy_llm/tokenizer.py`) as a tokenizer.json: three specials, the bytes, its words. */
export function toyTokenizer(): object {
  const source = readFileSync(join(import.meta.dirname, "python/toy_llm/tokenizer.py"), "utf8");
  const listed = /WORDS = \(([^)]*)\)/.exec(source)?.[1] ?? "";
  const words = [...listed.matchAll(/"([^"]*)"/g)].flatMap(([, text = ""]) => text.split(" ")).filter((word) => word);
  const specials = ["<pad>", "<bos>", "<end>"];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const tokens = [...specials, ...byteAlphabet, ...words];
  return {
    version: "1.0",
    added_tokens: specials.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
      byte_fallback: false,
      ignore_merges: true,
    },
  };
}
