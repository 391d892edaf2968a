/** What an answer turns out to be, piece by piece. */
export interface AnswerSink {
  /** Text for the reader. */
  text(text: string): void;
  /** Thought. */
  thought(text: string): void;
  /** A call begins. `id` is the model's own; empty: it has none. */
  call(name: string, id: string): void;
  /** Arguments of the call that began last. */
  args(text: string): void;
}

/** Told the pieces of a text, and its end. */
export interface AnswerParser {
  push(piece: string): void;
  /** The text has ended; `cut` if by a limit on its length, and not because the model was done. */
  end(cut: boolean): void;
}
