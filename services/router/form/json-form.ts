import type { ChoiceForm, Problem } from "./choice-form.ts";
import { JsonScan } from "./json-scan.ts";

/** What is wanted of a JSON text. */
export interface JsonWanted {
  /** It has to be an object; else any value will do. */
  readonly object: boolean;
  /**
   * Whether the answer is the value alone: white space and a Markdown fence around it are left out, and it ends where the
   * value ends. If not, the text is passed on as it is, and may hold nothing else.
   */
  readonly alone: boolean;
  /** Judges the whole text, which is JSON; undefined: it needs no more. */
  readonly judge: ((json: string) => Promise<Problem | undefined>) | undefined;
}

/** A longer answer is not judged. */
const judgedMax = 4_194_304;
/** Some models write white space and nothing else: more than this before a value is no beginning. */
const spaceMax = 1_024;
/** What may follow a value in silence: the line that closes a fence, and some white space. */
const tail = /^\s*(?:`{1,3}\s*)?$/;
const tailMax = 64;

const fence = /^```[\w+-]{0,32}[ \t]*\r?\n/;
const fenceBegun = /^(?:`{1,3}|```[\w+-]{0,32}[ \t]*\r?)$/;

/** Holds a text to be a JSON value. */
export class JsonForm implements ChoiceForm {
  problem: Problem | undefined;
  over = false;
  readonly #wanted: JsonWanted;
  readonly #scan = new JsonScan();
  #begun = false;
  /** Characters of white space before anything else. */
  #space = 0;
  #fenced = false;
  /** What came before it was clear where the value begins; after the value, what came there. */
  #held = "";
  #json = "";

  constructor(wanted: JsonWanted) {
    this.#wanted = wanted;
  }

  push(piece: string): string {
    const goesOn = this.problem === undefined && !this.over;
    if (!this.#wanted.alone) {
      if (goesOn) this.#read(piece);
      return piece;
    }
    if (!goesOn) return "";
    return this.#read(this.#begun ? piece : this.#begin(piece));
  }

  flush(): string {
    return "";
  }

  verdict(): Problem | undefined | Promise<Problem | undefined> {
    if (this.problem !== undefined) return this.problem;
    this.#scan.end();
    if (!this.#scan.whole) return this.#begun ? "it ends inside a JSON value" : "it holds no JSON value";
    return this.#wanted.judge?.(this.#json);
  }

  /** What of the beginning belongs to the value: nothing while that is not clear. */
  #begin(piece: string): string {
    this.#held = (this.#held + piece).trimStart();
    if (this.#held === "") this.#wait(piece.length);
    if (!this.#fenced && this.#held.startsWith("`")) {
      if (fenceBegun.test(this.#held)) return "";
      const opened = fence.exec(this.#held);
      this.#fenced = opened !== null;
      if (opened) this.#held = this.#held.slice(opened[0].length).trimStart();
    }
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  #wait(characters: number): void {
    this.#space += characters;
    if (this.#space > spaceMax) this.problem = "it holds no JSON value";
  }

  /** What of a piece is the value's. */
  #read(piece: string): string {
    if (piece === "") return "";
    if (!this.#begun && !this.#beginsWith(piece.trimStart())) return "";
    const taken = this.#scan.whole ? 0 : this.#scan.feed(piece);
    if (this.#scan.broken) {
      this.problem = "it is no JSON";
      return "";
    }
    this.#gather(piece.slice(0, taken));
    if (this.#scan.whole) this.#after(piece.slice(taken));
    return this.problem === undefined ? piece.slice(0, taken) : "";
  }

  #beginsWith(text: string): boolean {
    if (text === "") return !this.#wanted.alone;
    this.#begun = true;
    if (!this.#wanted.object || text.startsWith("{")) return true;
    this.problem = "it is no JSON object";
    return false;
  }

  #gather(json: string): void {
    if (!this.#wanted.judge) return;
    this.#json += json;
    if (this.#json.length > judgedMax) this.problem = `it is longer than ${judgedMax} characters`;
  }

  #after(text: string): void {
    if (this.#wanted.alone) {
      this.#held += text.slice(0, tailMax);
      this.over = this.#held.length > tailMax || !tail.test(this.#held);
    } else if (text.trim() !== "") this.problem = "something follows the JSON value";
  }
}
