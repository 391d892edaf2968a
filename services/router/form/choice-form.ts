/** What a check found wrong with an answer, in words that hold nothing of it. */
export type Problem = string;

/** Holds the text of one choice of an answer to a form, while it comes. */
export interface ChoiceForm {
  /** Why the text can't have its form any more; undefined: it still can. */
  readonly problem: Problem | undefined;
  /** The answer is complete, and the model goes on: what comes now is not part of it. */
  readonly over: boolean;
  /** What of a piece is passed on. */
  push(piece: string): string;
  /** The text has ended, or was cut: what was held back of it. */
  flush(): string;
  /** Whether the text, which has ended, has its form: undefined if so. A promise where that takes time; it never rejects. */
  verdict(): Problem | undefined | Promise<Problem | undefined>;
}
