import { CharacterStream } from "../character-stream.ts";

/** Whether each response holds what is new or the whole text so far; "unknown" is found out. */
export type TextMode = "delta" | "cumulative" | "unknown";

const replacement = "�";

/**
 * Turns the text outputs of one choice into new text. A character whose bytes are not all there is held back: in a
 * delta its bytes, in a cumulative text the U+FFFD at its end that the next response replaces.
 *
 * Mode "unknown": the second text decides, if it does not begin with the first one (delta). If it does, it is held back
 * and the third one decides; a text that ends before that is taken as cumulative.
 */
export class TextTrack {
  #mode: TextMode;
  #prompt: string;
  #sent = "";
  #undecided: string | undefined;
  readonly #characters = new CharacterStream();

  /** `prompt` is taken off the beginning where the engine repeats it; empty: it was told not to. */
  constructor(mode: TextMode, prompt: string) {
    this.#mode = mode;
    this.#prompt = prompt;
  }

  push(piece: Uint8Array): string {
    if (this.#mode === "delta") return this.#withoutPrompt(this.#characters.push(piece));
    const text = withoutPartial(this.#withoutPrompt(toBuffer(piece).toString("utf8")));
    if (this.#mode === "cumulative") return this.#grown(text);
    return this.#decide(text);
  }

  /** The text has ended. */
  flush(): string {
    const rest = this.#undecided === undefined ? "" : this.#grown(this.#undecided);
    this.#undecided = undefined;
    return rest + this.#characters.flush();
  }

  #decide(text: string): string {
    if (this.#undecided !== undefined) {
      const second = this.#undecided;
      this.#undecided = undefined;
      if (text.length > second.length && text.startsWith(second)) {
        this.#mode = "cumulative";
        return this.#grown(text);
      }
      this.#mode = "delta";
      return second + text;
    }
    if (this.#sent === "" || text === "") {
      this.#sent += text;
      return text;
    }
    if (text.length > this.#sent.length && text.startsWith(this.#sent)) {
      this.#undecided = text;
      return "";
    }
    this.#mode = "delta";
    return text;
  }

  #grown(text: string): string {
    if (text.length <= this.#sent.length) return "";
    const added = text.slice(this.#sent.length);
    this.#sent = text;
    return added;
  }

  #withoutPrompt(text: string): string {
    if (this.#prompt === "" || text === "") return text;
    const prompt = this.#prompt;
    // A cumulative text repeats the prompt in each response, a delta only in the first.
    if (this.#mode === "delta") this.#prompt = "";
    if (text.startsWith(prompt)) return text.slice(prompt.length);
    this.#prompt = "";
    return text;
  }
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function withoutPartial(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === replacement) end -= 1;
  return text.slice(0, end);
}
