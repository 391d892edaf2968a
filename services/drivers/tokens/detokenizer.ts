import { CharacterStream } from "../character-stream.ts";
import type { Vocabulary } from "./vocabulary.ts";

const space = 0x20;

/**
 * Turns the token ids of one answer into text as they come. A character whose bytes are spread over tokens is told when it
 * is whole. All that is told is what the tokenizer itself makes of all ids at once.
 *
 * The one exception: where <0xE2> stands for a byte, tokenizers spoil whole characters next to a byte that belongs to none;
 * here those stay whole.
 */
export class Detokenizer {
  readonly #vocabulary: Vocabulary;
  readonly #showsSpecial: boolean;
  readonly #characters = new CharacterStream();
  /** Spaces that may still be taken off the beginning. */
  #spaces: number;

  /** `showsSpecial`: tokens that are no text are told as well, as they are written. */
  constructor(vocabulary: Vocabulary, showsSpecial: boolean) {
    this.#vocabulary = vocabulary;
    this.#showsSpecial = showsSpecial;
    this.#spaces = vocabulary.head.spaces;
  }

  push(ids: Iterable<number>): string {
    let text = "";
    for (const id of ids) {
      if (!this.#showsSpecial && this.#vocabulary.isSpecial(id)) continue;
      const bytes = this.#vocabulary.bytesOf(id);
      text += this.#characters.push(this.#spaces > 0 ? this.#withoutHead(bytes) : bytes);
    }
    return text;
  }

  /** The answer has ended. */
  flush(): string {
    return this.#characters.flush();
  }

  #withoutHead(bytes: Uint8Array): Uint8Array {
    if (bytes.length === 0) return bytes;
    let from = 0;
    while (from < bytes.length && from < this.#spaces && bytes[from] === space) from += 1;
    const goesOn = from === bytes.length && !this.#vocabulary.head.firstTokenOnly;
    this.#spaces = goesOn ? this.#spaces - from : 0;
    return bytes.subarray(from);
  }
}
