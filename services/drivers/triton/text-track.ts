import { CharacterStream } from "../character-stream.ts";

/** Whether each response holds what is new or the whole text so far; "unknown" is found out. */
export type TextMode = "delta" | "cumulative" | "unknown";

/** What a character becomes whose bytes are not all there. */
export const replacement = "�";

/**
 * Turns the text outputs of one choice into new text. A character whose bytes are not all there is held back: in a
 * delta its bytes, in a cumulative text the U+FFFD at its end that the next response replaces.
 *
 * Mode "unknown": a cumulative text begins with the one before it. While that holds, texts after the first are held back,
 * until two of them have grown (cumulative) or one is another (delta); a text that ends before that is taken as
 * cumulative. A text may also stay as it is, or lose its end: to a stop text that was found, or a character that was not
 * whole.
 */
export class TextTrack {
  #mode: TextMode;
  #prompt: string;
  #sent = "";
  #held: string[] = [];
  #grew = 0;
  readonly #characters = new CharacterStream();

  /** `prompt` is taken off the beginning where the engine repeats it; empty: it was told not to. */
  constructor(mode: TextMode, prompt: string) {
    this.#mode = mode;
    this.#prompt = prompt;
  }

  /** The text is what lies between `start` and `end`. */
  push(bytes: Buffer, start = 0, end = bytes.length): string {
    if (this.#mode === "delta") return this.#withoutPrompt(this.#characters.push(bytes, start, end));
    const text = withoutPartial(this.#withoutPrompt(bytes.toString("utf8", start, end)));
    if (this.#mode === "cumulative") return this.#grown(text);
    return this.#decide(text);
  }

  /** The text has ended. */
  flush(): string {
    const rest = this.#grown(this.#held.at(-1) ?? "");
    this.#held = [];
    return rest + this.#characters.flush();
  }

  #decide(text: string): string {
    if (this.#sent === "" || text === "") {
      this.#sent += text;
      return text;
    }
    const last = this.#held.at(-1) ?? this.#sent;
    if (!text.startsWith(last) && !last.startsWith(text)) {
      this.#mode = "delta";
      const held = this.#held.join("");
      this.#held = [];
      return held + text;
    }
    if (text.length > last.length) this.#grew += 1;
    if (this.#grew === 2) {
      this.#mode = "cumulative";
      this.#held = [];
      return this.#grown(text);
    }
    this.#held.push(text);
    return "";
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

function withoutPartial(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === replacement) end -= 1;
  return text.slice(0, end);
}
