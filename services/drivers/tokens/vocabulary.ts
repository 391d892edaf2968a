import type { TokenDecoder, TokenStep } from "../../runtime/config/token-decoder.ts";

/** A vocabulary in a form that threads can pass on without a copy. */
export interface PackedVocabulary {
  /** The bytes of all tokens, one behind the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** By id: where its bytes begin; one more at the end. */
  readonly offsets: Uint32Array<ArrayBuffer>;
  /** By id: 1 for a token that is no text. */
  readonly special: Uint8Array<ArrayBuffer>;
  readonly head: TokenDecoder["head"];
}

/** A token as a tokenizer.json has it. */
export interface VocabularyEntry {
  readonly id: number;
  readonly token: string;
  readonly special: boolean;
}

/** A vocabulary has some 100,000 tokens; an id far beyond is a mistake of the file's. */
const idMax = 16_777_216;

/** Finds out the bytes of every token. Throws an Error for ids that can't be. */
export function packVocabulary(entries: readonly VocabularyEntry[], decoder: TokenDecoder): PackedVocabulary {
  const pieces: Uint8Array[] = [];
  const special: number[] = [];
  for (const { id, token, special: isSpecial } of entries) {
    if (!Number.isInteger(id) || id < 0 || id > idMax) throw new Error(`the token ${token} has the id ${id}`);
    pieces[id] = bytesOf(token, decoder.steps);
    if (isSpecial) special.push(id);
  }
  const offsets = new Uint32Array(pieces.length + 1);
  for (let id = 0; id < pieces.length; id++) offsets[id + 1] = (offsets[id] ?? 0) + (pieces[id]?.length ?? 0);
  const bytes = new Uint8Array(offsets[pieces.length] ?? 0);
  for (const [id, piece] of pieces.entries()) if (piece) bytes.set(piece, offsets[id]);
  const flags = new Uint8Array(pieces.length);
  for (const id of special) flags[id] = 1;
  return { bytes, offsets, special: flags, head: decoder.head };
}

function bytesOf(token: string, steps: readonly TokenStep[]): Uint8Array {
  let text = token;
  for (const step of steps) {
    if (step.kind === "byte_level") return byteLevel(text);
    if (step.kind === "replace") text = text.replaceAll(step.pattern, step.content);
    else if (/^<0x[0-9A-Fa-f]{2}>$/.test(text)) return Uint8Array.of(Number.parseInt(text.slice(3, 5), 16));
  }
  return Buffer.from(text);
}

/** A token of which a character stands for no byte is a text, as added tokens are. */
function byteLevel(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteByCharacter.get(character);
    if (byte === undefined) return Buffer.from(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** Bytes that are shown as themselves; the others are shown from U+0100 on, in order. */
const shown = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);

/** GPT-2's alphabet: the character that stands for each byte. */
export const byteAlphabet: readonly string[] = alphabet();

const byteByCharacter: ReadonlyMap<string, number> = new Map(byteAlphabet.map((character, byte) => [character, byte]));

function alphabet(): string[] {
  let hidden = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(shown(byte) ? byte : hidden++));
}

const nothing = new Uint8Array();

/** What each token of a model is. */
export class Vocabulary {
  /** What is taken off the beginning of a text. */
  readonly head: TokenDecoder["head"];
  /** Tokens that end an answer; the model is told of the first. */
  readonly endIds: readonly number[];
  /** Undefined: the tokenizer names none. */
  readonly padId: number | undefined;
  readonly #packed: PackedVocabulary;

  constructor(packed: PackedVocabulary, endIds: readonly number[], padId: number | undefined) {
    this.#packed = packed;
    this.head = packed.head;
    this.endIds = endIds;
    this.padId = padId;
  }

  /** The bytes of a token, which may be a part of a character; none for an id that there is not. */
  bytesOf(id: number): Uint8Array {
    const { bytes, offsets } = this.#packed;
    const [from, to] = [offsets[id], offsets[id + 1]];
    return from === undefined || to === undefined ? nothing : bytes.subarray(from, to);
  }

  /** Whether the token is no text, but a sign to the model or from it. */
  isSpecial(id: number): boolean {
    return this.#packed.special[id] === 1;
  }
}
