import type { AnswerSink } from "./answer-sink.ts";
import type { GrowingText, Reading } from "./growing-text.ts";
import { HeldSpace } from "./held-space.ts";

/** What formats of calls tell their finds to: text without the white space around calls, calls, arguments. */
export class CallWriter {
  readonly #sink: AnswerSink;
  readonly #space: HeldSpace;

  constructor(sink: AnswerSink) {
    this.#sink = sink;
    this.#space = new HeldSpace((text) => sink.text(text));
  }

  readonly text = (text: string): void => this.#space.push(text);

  readonly args = (text: string): void => this.#sink.args(text);

  call(name: string, id = ""): void {
    this.#space.begin();
    this.#sink.call(name, id);
  }

  /** What is held is text after all. */
  end(): void {
    this.#space.flush();
  }
}

/** How the models of a family write calls. */
export interface CallFormat {
  /** What begins calls and hardly stands in a text: it also ends thought that nothing else has ended. */
  readonly openers: readonly string[];
  /** Reads a whole answer. Calls go to the writer, and so does all else as text. */
  read(text: GrowingText, out: CallWriter, tools: Tools): Reading<void>;
}

/** What a function takes, as far as it matters for reading calls. */
export interface Tools {
  /** Whether the request offers a function of that name. */
  has(name: string): boolean;
  /** Which JSON values an argument may have; undefined: the schema does not say. */
  kinds(name: string, argument: string): ReadonlySet<string> | undefined;
  /** Whether the argument's schema refers to others, which may not say either. */
  refers(name: string, argument: string): boolean;
}

/** A longer name is none. */
export const nameMax = 256;

/** Whether it can be the name of a function, also of one that was not offered. */
export function isName(text: string): boolean {
  return /^[A-Za-z_][\w.-]*$/.test(text);
}
