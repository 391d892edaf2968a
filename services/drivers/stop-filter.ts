/** What may be passed on of a text, and the stop text that ended it. */
export interface Filtered {
  readonly text: string;
  readonly stop: string | undefined;
}

/**
 * Ends a text before the first of its stop texts, also when that comes in pieces: what could be the beginning of one is
 * held back until it is clear. Some engines leave the stop text in, some know no stop texts at all.
 */
export class StopFilter {
  readonly #stops: readonly string[];
  readonly #longest: number;
  #held = "";

  constructor(stops: readonly string[]) {
    this.#stops = stops;
    this.#longest = Math.max(0, ...stops.map((stop) => stop.length));
  }

  push(piece: string): Filtered {
    if (this.#longest === 0) return { text: piece, stop: undefined };
    const text = this.#held + piece;
    const found = this.#earliest(text);
    if (found) {
      this.#held = "";
      return { text: text.slice(0, found.at), stop: found.stop };
    }
    const keep = this.#beginning(text);
    this.#held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep), stop: undefined };
  }

  /** The text has ended: what was held back is text after all. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** The stop text that is complete first, so that it does not depend on how the text was cut. */
  #earliest(text: string): { at: number; stop: string } | undefined {
    let best: { at: number; stop: string; end: number } | undefined;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      const end = at + stop.length;
      if (at >= 0 && (!best || end < best.end || (end === best.end && at < best.at))) best = { at, stop, end };
    }
    return best;
  }

  /** The length of the longest end of the text that begins a stop text. */
  #beginning(text: string): number {
    for (let length = Math.min(text.length, this.#longest - 1); length > 0; length -= 1) {
      const end = text.slice(text.length - length);
      if (this.#stops.some((stop) => stop.length > length && stop.startsWith(end))) return length;
    }
    return 0;
  }
}
