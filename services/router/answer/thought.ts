import type { AnswerSink } from "./answer-sink.ts";
import type { GrowingText, Reading } from "./growing-text.ts";
import { HeldSpace } from "./held-space.ts";

/** How the models of a family mark what they think. */
export interface ThoughtFormat {
  /** What begins thought. */
  readonly opens: readonly string[];
  /** What ends it. */
  readonly closes: readonly string[];
  /** An answer begins with thought also where nothing says so, unless the prompt has ended it. */
  readonly implied: boolean;
}

/**
 * Reads thought at the beginning of an answer, and passes the rest on.
 *
 * @param prompt what the model continues: a template may have begun or ended the thought already.
 * @param callOpeners what begins calls: models forget to end their thought before.
 */
export function* readThought(
  text: GrowingText,
  format: ThoughtFormat,
  prompt: string,
  callOpeners: readonly string[],
  sink: Pick<AnswerSink, "text" | "thought">,
): Reading<void> {
  if (yield* begins(text, format, prompt)) {
    const space = new HeldSpace((thought) => sink.thought(thought));
    space.begin();
    const ends = [...format.closes, ...callOpeners];
    const which = yield* text.until(ends, (piece) => space.push(piece));
    if (which < 0) return space.flush();
    text.skip(which < format.closes.length ? (ends[which] ?? "").length : 0);
    yield* text.space();
  }
  yield* text.until([], (piece) => sink.text(piece));
}

function* begins(text: GrowingText, { opens, closes, implied }: ThoughtFormat, prompt: string): Reading<boolean> {
  const end = prompt.trimEnd();
  if (closes.some((marker) => end.endsWith(marker))) return false;
  const opened = opens.some((marker) => end.endsWith(marker));
  text.mark();
  yield* text.space();
  for (const marker of opens) {
    if (!(yield* text.accept(marker))) continue;
    text.release();
    return true;
  }
  text.rewind();
  return opened || implied;
}
