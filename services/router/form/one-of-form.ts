import type { ChoiceForm, Problem } from "./choice-form.ts";

/** Holds a text to be one of some, white space around it aside. It is held back until it is whole. */
export class OneOfForm implements ChoiceForm {
  problem: Problem | undefined;
  readonly over = false;
  readonly #texts: readonly string[];
  #text = "";

  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  push(piece: string): string {
    if (this.problem !== undefined) return "";
    this.#text = (this.#text + piece).trimStart();
    const said = this.#text.trimEnd();
    // White space at the end may belong to one of the texts.
    if (!this.#texts.some((text) => text.trim().startsWith(said))) this.problem = "it is none of the choices";
    else if (this.#text.length > said.length + spaceMax) this.#text = this.#text.slice(0, said.length + spaceMax);
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

/** No text has more white space than this in a row that matters. */
const spaceMax = 1_024;
