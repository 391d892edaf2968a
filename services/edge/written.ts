import type { Exchange } from "./exchange.ts";

/** Characters that are written in one turn of the event loop: a few milliseconds of it. */
const turnLength = 300_000;
/** What a piece costs beside its characters, in their measure. */
const pieceLength = 32;

/**
 * Answers with a body that is written piece by piece. A long one is made over several turns, so that nobody else waits for
 * it, and not to its end if its reader leaves.
 */
export function answerWith(exchange: Exchange, pieces: Iterable<string>): void {
  const source = pieces[Symbol.iterator]();
  const written: Buffer[] = [];
  const turn = () => {
    if (exchange.over) return;
    const { text, done } = nextText(source);
    // Nearly every body is short.
    if (done && written.length === 0) return exchange.json(200, text);
    if (text !== "") written.push(Buffer.from(text));
    if (done) exchange.json(200, written);
    else setImmediate(() => exchange.attempt(turn));
  };
  turn();
}

function nextText(source: Iterator<string>): { readonly text: string; readonly done: boolean } {
  const parts: string[] = [];
  for (let length = 0; length < turnLength; ) {
    const next = source.next();
    if (next.done) return { text: parts.join(""), done: true };
    parts.push(next.value);
    length += next.value.length + pieceLength;
  }
  return { text: parts.join(""), done: false };
}
