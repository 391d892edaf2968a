import type { ChoiceForm, Problem } from "./choice-form.ts";

/** Holds a text to be one of some, white space around it aside. It is held back until it is whole. */
export class OneOfForm implements ChoiceForm {
  problem: Problem | undefined;
  readonly over = false;
  readonly #texts: readonly string[];
  #text = "";
  /** Characters of white space at the end, or before anything else. */
  #space = 0;

  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  push(piece: string): string {
    if (this.problem !== undefined) return "";
    this.#text = (this.#text + piece).trimStart();
    const said = this.#text.trimEnd();
    // White space at the end may belong to one of the texts.
    if (!this.#texts.some((text) => text.trim().startsWith(said))) this.problem = "it is none of the choices";
    this.#space = said === "" ? this.#space + piece.length : this.#text.length - said.length;
    if (this.#space > spaceMax) this.problem = "it is none of the choices";
    return "";
  }

  flush(): string {
    return this.#found() ?? this.#text;
  }

  verdict(): Problem | undefined {
    return this.problem ?? (this.#found() === undefined ? "it is none of the choices" : undefined);
  }

  #found(): string | undefined {
    const said = this.#text.trim();
    return this.#texts.find((text) => text.trim() === said);
  }
}

/** Some models write white space and nothing else: more of it in a row is none of the texts. */
const spaceMax = 1_024;
