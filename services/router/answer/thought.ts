import type { AnswerSink } from "./answer-sink.ts";
import type { CallTrial } from "./call-parser.ts";
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

/** How calls are found that stand in thought: models forget to end it before. */
export interface CallTrials {
  /** What begins calls, and may also just be thought of. */
  readonly openers: readonly string[];
  begin(): CallTrial;
}

/** Each mention of a call's marker may cost 16 Ki characters that are read in vain; after so many, only an end ends thought. */
const trialsMax = 64;

/** Characters that are tried at a time: most mentions are known as such after a few. */
const trialStep = 256;

/**
 * Reads thought at the beginning of an answer, and passes the rest on.
 *
 * @param prompt what the model continues: a template may have begun or ended the thought already.
 */
export function* readThought(
  text: GrowingText,
  format: ThoughtFormat,
  prompt: string,
  calls: CallTrials | undefined,
  sink: Pick<AnswerSink, "text" | "thought">,
): Reading<void> {
  if (yield* begins(text, format, prompt)) {
    const space = new HeldSpace((thought) => sink.thought(thought));
    space.begin();
    if (!(yield* throughThought(text, format.closes, calls, space))) return space.flush();
    yield* text.space();
  }
  yield* text.until([], (piece) => sink.text(piece));
}

/**
 * Reads up to a call or through a marker that ends thought.
 *
 * @returns whether one came.
 */
function* throughThought(
  text: GrowingText,
  closes: readonly string[],
  calls: CallTrials | undefined,
  space: HeldSpace,
): Reading<boolean> {
  for (let trials = 0; ; trials++) {
    const ends = calls && trials < trialsMax ? [...closes, ...calls.openers] : closes;
    const which = yield* text.until(ends, (piece) => space.push(piece));
    const marker = ends[which];
    if (marker === undefined) return false;
    if (calls && which >= closes.length) {
      if (yield* beginsCall(text, closes, calls.begin())) return true;
      space.push(marker);
    }
    text.skip(marker.length);
    if (which < closes.length) return true;
  }
}

/** Whether a call comes next, and is one before the thought is ended. Nothing is read. */
function* beginsCall(text: GrowingText, closes: readonly string[], trial: CallTrial): Reading<boolean> {
  for (let from = 0; trial.isCall === undefined; ) {
    const piece = (yield* text.ahead(from, closes)).slice(0, trialStep);
    from += piece.length;
    if (piece === "") trial.end(text.cut);
    else trial.push(piece);
  }
  return trial.isCall;
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
