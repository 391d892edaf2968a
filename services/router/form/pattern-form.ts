import type { ChoiceForm, Problem } from "./choice-form.ts";

/** A longer text is not tried. */
const lengthMax = 65_536;

/** Holds a text as a whole to something that takes time to find out. It is passed on as it comes. */
export class PatternForm implements ChoiceForm {
  problem: Problem | undefined;
  readonly over = false;
  readonly #judge: (text: string) => Promise<Problem | undefined>;
  #text = "";

  constructor(judge: (text: string) => Promise<Problem | undefined>) {
    this.#judge = judge;
  }

  push(piece: string): string {
    if (this.problem !== undefined) return "";
    this.#text += piece;
    if (this.#text.length > lengthMax) this.problem = `it is longer than ${lengthMax} characters`;
    return this.problem === undefined ? piece : "";
  }

  flush(): string {
    return "";
  }

  verdict(): Problem | undefined | Promise<Problem | undefined> {
    return this.problem ?? this.#judge(this.#text);
  }
}
