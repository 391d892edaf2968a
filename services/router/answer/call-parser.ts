import type { AnswerParser, AnswerSink } from "./answer-sink.ts";
import { type CallFormat, CallWriter, type Tools } from "./call-writer.ts";
import { GrowingText, type Reading } from "./growing-text.ts";

/** Reads text and calls. */
export function callParser(format: CallFormat, tools: Tools, sink: AnswerSink): AnswerParser {
  const text = new GrowingText();
  const out = new CallWriter(sink);
  const parser = reader(text, format.read(text, out, tools));
  return {
    push: (piece) => parser.push(piece),
    end(cut) {
      parser.end(cut);
      out.end();
    },
  };
}

/** Runs a reading as far as its text goes. */
export function reader(text: GrowingText, reading: Reading<void>): AnswerParser {
  return {
    push(piece) {
      text.append(piece);
      reading.next();
    },
    end(cut) {
      text.end(cut);
      reading.next();
    },
  };
}

/** Finds out whether a text begins with a call: it is read as an answer, of which nobody is told. */
export class CallTrial implements AnswerParser {
  /** Undefined: it is not known yet. */
  isCall: boolean | undefined;
  readonly #parser: AnswerParser;

  constructor(format: CallFormat, tools: Tools) {
    const say = (isCall: boolean) => () => void (this.isCall ??= isCall);
    const ignore = () => {};
    this.#parser = callParser(format, tools, { text: say(false), thought: ignore, call: say(true), args: ignore });
  }

  push(piece: string): void {
    this.#parser.push(piece);
  }

  end(cut: boolean): void {
    this.#parser.end(cut);
    this.isCall ??= false;
  }
}
