/** A token of the simulated model: a piece of text, which may be only a part of a character. */
export interface Token {
  readonly id: number;
  readonly bytes: Buffer;
  /** It is a mark of the model, and no text. */
  readonly special?: boolean;
}

const words =
  "the river runs over a low dam of stone and keeps its measure in every season while people downstream draw water by turns so that none goes dry when rain is late or comes all at once from the hills".split(
    " ",
  );
/** Characters whose bytes come as several tokens, as byte-level vocabularies do it. */
const split = ["é", "ü", "–", "水", "🌊"];

/** Words with the space before them. */
export const vocabularyWords: readonly Buffer[] = words.map((word) => Buffer.from(` ${word}`));

const vocabulary: readonly Token[] = [
  ...vocabularyWords,
  ...[",", ".", "\n"].map((mark) => Buffer.from(mark)),
  ...split.flatMap((character) => [...Buffer.from(character)].map((byte) => Buffer.from([byte]))),
].map((bytes, id) => ({ id, bytes }));

const wordCount = words.length;
const markCount = 3;

/** Mixes a text and a number into 32 bits (FNV-1a). */
export function hashOf(text: string, seed: bigint): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${seed}:${text}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Numbers from 0 to 1 that follow from a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Endless text that follows from a prompt and a seed, token by token. */
export function* textFrom(prompt: string, seed: bigint): Generator<Token, never> {
  const random = randomFrom(hashOf(prompt, seed));
  for (;;) {
    const sentence = 4 + Math.floor(random() * 10);
    for (let i = 0; i < sentence; i++) {
      yield at(Math.floor(random() * wordCount));
      if (random() < 0.06) yield* splitCharacter(Math.floor(random() * split.length));
    }
    yield at(wordCount + Math.floor(random() * (markCount - 1)));
  }
}

function at(index: number): Token {
  const token = vocabulary[index];
  if (token === undefined) throw new Error(`the vocabulary has no token ${index}`);
  return token;
}

function* splitCharacter(index: number): Generator<Token> {
  let first = wordCount + markCount;
  for (let i = 0; i < index; i++) first += Buffer.byteLength(split[i] ?? "");
  for (let i = 0; i < Buffer.byteLength(split[index] ?? ""); i++) yield at(first + i);
}

/** A given text as tokens of at most four bytes: what the model says when it must say something in particular. */
export function* tokensOf(text: string): Generator<Token> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += 4) yield { id: 0, bytes: bytes.subarray(at, at + 4) };
}

/** Marks that are special tokens in the vocabularies of the models that write them. */
const marks = /(\[TOOL_CALLS\]|\[ARGS\]|\[THINK\]|\[\/THINK\])/;

/**
 * A given text as tokens of whole characters, of at most four bytes: no token of a marker is a part of a character. A
 * marker that is a special token is one token.
 */
export function wholeTokensOf(text: string): Token[] {
  return text
    .split(marks)
    .flatMap((part, at) => (at % 2 === 1 ? [{ id: 0, bytes: Buffer.from(part), special: true }] : piecesOf(part)));
}

function piecesOf(text: string): Token[] {
  const pieces: string[] = [];
  for (const character of text) {
    const longer = (pieces.at(-1) ?? "") + character;
    if (pieces.length > 0 && Buffer.byteLength(longer) <= 4) pieces[pieces.length - 1] = longer;
    else pieces.push(character);
  }
  return pieces.map((piece) => ({ id: 0, bytes: Buffer.from(piece) }));
}

/** Tokens of a prompt: four bytes each, as good a guess as any. */
export function countTokens(text: string): number {
  return Math.max(1, Math.ceil(Buffer.byteLength(text) / 4));
}

/** A text that stands for a prompt of token ids: four bytes a token, so that as many are counted as were sent. */
export function textOfIds(ids: readonly number[]): string {
  return ids.map((id) => String(Math.abs(id) % 1_000).padStart(4, "#")).join("");
}
