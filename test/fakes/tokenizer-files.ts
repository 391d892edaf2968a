import { createHash } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type Tokenizer, TokenizerSchema } from "../../gen/ts/weir/catalog/v1/model_pb.ts";
import { byteAlphabet } from "../../services/drivers/tokens/vocabulary.ts";

/** What the vocabularies below are made of: words, and characters of two to four bytes that come to be parts of tokens. */
const corpus =
  "the river runs over the dam, and 水 flows; über die Brücke 🌊🌊 the hills ☕ résumé 漢字漢字 e = mc² <b>the</b> ".repeat(
    3,
  );

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** As GPT-2, Llama 3 and Qwen have them: characters stand for bytes, and merges cut through characters. */
export function byteLevelTokenizer(): object {
  const words = corpus.match(/ ?\S+|\s/gu) ?? [];
  const pieces = words.map((word) => [...Buffer.from(word)].map((byte) => byteAlphabet[byte] ?? ""));
  const merges = mergesOf(pieces, 120);
  const tokens = [...byteAlphabet, ...merges.map((pair) => pair.join(""))];
  const end = tokens.length;
  return {
    version: "1.0",
    added_tokens: [special(end, "<|end|>"), special(end + 1, "<|start|>")],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: templated("<|start|>", end + 1),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: idsOf(tokens), merges, ...bpe, byte_fallback: false, ignore_merges: false },
  };
}

/** As Llama 2 and Mistral have them: U+2581 for a space, and <0xE2> for bytes of characters that are not in the vocabulary. */
export function byteFallbackTokenizer(): object {
  const words = corpus.replaceAll(" ", "▁").match(/▁?[^▁]+/gu) ?? [];
  const merges = mergesOf(
    words.map((word) => [...word].filter((character) => !"🌊☕漢²".includes(character))),
    80,
  );
  const characters = new Set(words.flatMap((word) => [...word]).filter((character) => !"🌊☕漢²".includes(character)));
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...characters, ...merges.map((pair) => pair.join(""))];
  return {
    version: "1.0",
    added_tokens: [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: templated("<s>", 1),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      vocab: idsOf(tokens),
      merges,
      ...bpe,
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
    },
  };
}

/** As T5 and its kin have them: Metaspace on both sides. */
export function metaspaceTokenizer(): object {
  const characters = new Set(corpus.replaceAll(" ", "▁"));
  const words = new Set(corpus.split(" ").map((word) => `▁${word}`));
  const tokens = ["<unk>", "</s>", ...characters, ...words].filter((token, at, all) => all.indexOf(token) === at);
  const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
  return {
    version: "1.0",
    added_tokens: [special(0, "<unk>"), special(1, "</s>")],
    normalizer: null,
    pre_tokenizer: metaspace,
    post_processor: null,
    decoder: metaspace,
    model: { type: "Unigram", unk_id: 0, vocab: tokens.map((token) => [token, -token.length]), byte_fallback: false },
  };
}

/** Writes a tokenizer into a folder of its own. */
export function tokenizerFolder(tokenizer: object, beside: Readonly<Record<string, object>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "weir-tokenizer-"));
  const path = join(folder, "tokenizer.json");
  const text = JSON.stringify(tokenizer);
  writeFileSync(path, text);
  for (const [name, value] of Object.entries(beside)) writeFileSync(join(folder, name), JSON.stringify(value));
  return { folder, path, text, sha256: createHash("sha256").update(text).digest("hex") };
}

/** The same as the catalogue tells it. */
export function tokenizerSource(tokenizer: object, endIds: number[] = [], padId = -1): Tokenizer {
  const { path, sha256 } = tokenizerFolder(tokenizer);
  return create(TokenizerSchema, { path, sha256, endIds, padId });
}

const bpe = {
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
};

function templated(token: string, id: number): object {
  return {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

function idsOf(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

/** The pairs that occur most, one after the other, as byte-pair encoding learns them. */
function mergesOf(words: readonly string[][], count: number): [string, string][] {
  const merges: [string, string][] = [];
  let pieces = words.map((word) => [...word]);
  while (merges.length < count) {
    const counts = new Map<string, { pair: [string, string]; times: number }>();
    for (const word of pieces)
      for (let at = 0; at + 1 < word.length; at += 1) {
        const pair: [string, string] = [word[at] ?? "", word[at + 1] ?? ""];
        const known = counts.get(pair.join(" ")) ?? { pair, times: 0 };
        counts.set(pair.join(" "), { pair, times: known.times + 1 });
      }
    const [best] = [...counts.values()].sort((a, b) => b.times - a.times);
    if (!best) break;
    merges.push(best.pair);
    pieces = pieces.map((word) => merged(word, best.pair));
  }
  return merges;
}

function merged(word: readonly string[], [left, right]: [string, string]): string[] {
  const result: string[] = [];
  for (let at = 0; at < word.length; at += 1) {
    if (word[at] === left && word[at + 1] === right) {
      result.push(left + right);
      at += 1;
    } else result.push(word[at] ?? "");
  }
  return result;
}
