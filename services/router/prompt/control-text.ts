/** Splits a token for a tokenizer, and nothing for a reader: a space of no width. */
export const unseen = "\u200b";
/** Marks where a token has to be split, for whoever splits it: of characters that no text is sent with. */
export const seam = "\ufdd0\ufdd1";

interface Branch {
  readonly next: Map<string, Branch>;
  /** A token ends here. */
  ends: boolean;
}

/** Finds the control tokens of a model in texts that are not its template's. */
export class ControlText {
  readonly #root: Branch = branch();
  /** The characters that tokens begin with: all else of a long text is passed over at once. */
  readonly #firsts: RegExp;

  constructor(tokens: readonly string[]) {
    for (const token of tokens) {
      let at = this.#root;
      for (const character of token.split("")) {
        const known = at.next.get(character);
        const next = known ?? branch();
        if (!known) at.next.set(character, next);
        at = next;
      }
      at.ends = true;
    }
    const firsts = Array.from(
      this.#root.next.keys(),
      (first) => `\\u${first.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    this.#firsts = new RegExp(`[${firsts.join("")}]`, "g");
  }

  /** Whether a text, or any in a value that JSON could hold, spells a token. */
  spells(value: unknown): boolean {
    if (typeof value === "string") return this.#find(value, 0) !== undefined;
    if (typeof value !== "object" || value === null) return false;
    if (Array.isArray(value)) return value.some((one) => this.spells(one));
    return Object.entries(value).some(([key, one]) => this.spells(key) || this.spells(one));
  }

  /** The same value, with every token broken up behind its first character. */
  neutral(value: unknown, splitter = unseen): unknown {
    if (typeof value === "string") return this.#broken(value, splitter);
    if (typeof value !== "object" || value === null || !this.spells(value)) return value;
    if (Array.isArray(value)) return value.map((one) => this.neutral(one, splitter));
    const entries = Object.entries(value);
    return Object.fromEntries(entries.map(([key, one]) => [this.#broken(key, splitter), this.neutral(one, splitter)]));
  }

  #broken(text: string, splitter: string): string {
    let told = "";
    let from = 0;
    for (let at = this.#find(text, 0); at !== undefined; at = this.#find(text, from)) {
      told += text.slice(from, at + 1) + splitter;
      from = at + 1;
    }
    return told + text.slice(from);
  }

  /** Where the next token begins. */
  #find(text: string, from: number): number | undefined {
    this.#firsts.lastIndex = from;
    for (let first = this.#firsts.exec(text); first; first = this.#firsts.exec(text)) {
      const at = first.index;
      let here = this.#root.next.get(text.charAt(at));
      for (let to = at + 1; here; to++) {
        if (here.ends) return at;
        here = here.next.get(text.charAt(to));
      }
    }
    return undefined;
  }
}

function branch(): Branch {
  return { next: new Map(), ends: false };
}
