import { vocabularyWords } from "./text.ts";

/**
 * The vocabulary of the models that take and give token ids: a token for each byte, then the words that the simulator says,
 * then what is no text. Its tokenizer.json is that of a byte-level model.
 */
export const special = { end: "<|end|>", pad: "<|pad|>", turn: "<|turn|>" };

const words = [...new Set(vocabularyWords.map((word) => word.toString("latin1")))];
const wordIds = new Map(words.map((word, at) => [word, 256 + at]));
const specials = Object.values(special);
const firstSpecial = 256 + words.length;

/** The token that ends a text. */
export const endId = firstSpecial;

/** The tokens of a piece of text: one, if it is a word or a byte. */
export function idsOf(bytes: Buffer): number[] {
  const word = wordIds.get(bytes.toString("latin1"));
  return word === undefined ? [...bytes] : [word];
}

/** What ids say. Those that are no text, and those that there are not, say nothing. */
export function textOf(ids: readonly number[]): string {
  const pieces = ids.map((id) => (id < 256 ? Buffer.from([id]) : Buffer.from(words[id - 256] ?? "", "latin1")));
  return Buffer.concat(pieces).toString("utf8");
}

/** The vocabulary as a tokenizer.json. */
export function tokenizerFile(): object {
  const alphabet = byteAlphabet();
  const shown = (word: string) => [...Buffer.from(word, "latin1")].map((byte) => alphabet[byte]).join("");
  const tokens = [...alphabet, ...words.map(shown)];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, at) => ({ id: firstSpecial + at, content, ...flags })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
      byte_fallback: false,
      // A word is a token although nothing is merged to it.
      ignore_merges: true,
    },
  };
}

/** GPT-2's: a character for each byte, itself where it can be seen. */
function byteAlphabet(): string[] {
  let hidden = 0x100;
  const seen = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(seen(byte) ? byte : hidden++));
}
