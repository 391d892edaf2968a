import type { AnswerParser, AnswerSink } from "./answer-sink.ts";
import { callParser, CallTrial, reader } from "./call-parser.ts";
import type { CallFormat, Tools } from "./call-writer.ts";
import { GrowingText } from "./growing-text.ts";
import { readThought, type ThoughtFormat } from "./thought.ts";

/** How an answer is written. */
export interface AnswerForm {
  /** Undefined: nothing in it is thought. */
  readonly thought: ThoughtFormat | undefined;
  /** Undefined: nothing in it is a call. */
  readonly calls: CallFormat | undefined;
  /** The functions that it may call. */
  readonly tools: Tools;
  /** What the model continues. */
  readonly prompt: string;
}

/** Builds the parser of one choice: thought first, then text and calls. */
export function choiceParser({ thought, calls, tools, prompt }: AnswerForm, sink: AnswerSink): AnswerParser {
  const spoken = calls ? callParser(calls, tools, sink) : undefined;
  if (!thought) return spoken ?? plainParser(sink);
  const text = new GrowingText();
  const rest = spoken ? (piece: string) => spoken.push(piece) : (piece: string) => sink.text(piece);
  const outlet = { text: rest, thought: (piece: string) => sink.thought(piece) };
  const trials = calls ? { openers: calls.openers, begin: () => new CallTrial(calls, tools) } : undefined;
  const parser = reader(text, readThought(text, thought, prompt, trials, outlet));
  return {
    push: (piece) => parser.push(piece),
    end(cut) {
      parser.end(cut);
      spoken?.end(cut);
    },
  };
}

function plainParser(sink: AnswerSink): AnswerParser {
  return { push: (piece) => sink.text(piece), end() {} };
}
