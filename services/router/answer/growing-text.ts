/** A reader that gives way, with `yield`, whenever it needs more text than there is. */
export type Reading<T> = Generator<void, T, void>;

/** A reader that could still take it back holds at most this many characters of what it has read. */
const takenBackMax = 16_384;
/** What begins like a call costs time, the same text over and over: an answer that takes back more than this is a text. */
const takenBackSumMax = 262_144;

/**
 * A text that comes in pieces, with a place up to which it was read. Every question is answered when the answer can't
 * change with the next piece, so what readers find does not depend on how the text was cut. Of what was read only what
 * may be taken back is kept.
 */
export class GrowingText {
  #text = "";
  #at = 0;
  /** Where `rewind` goes back to; -1: nowhere. */
  #mark = -1;
  #takenBack = 0;
  #ended = false;
  /** The end came by a limit on length: what is open was not meant to end here. */
  cut = false;

  append(piece: string): void {
    const keepFrom = this.#mark < 0 ? this.#at : this.#mark;
    this.#text = this.#text.slice(keepFrom) + piece;
    this.#at -= keepFrom;
    if (this.#mark > 0) this.#mark = 0;
  }

  end(cut: boolean): void {
    this.#ended = true;
    this.cut = cut;
  }

  /** From here on what is read may be taken back. */
  mark(): void {
    this.#mark = this.#at;
  }

  /** Goes back to the mark. */
  rewind(): void {
    if (this.#mark < 0) return;
    this.#takenBack += this.#at - this.#mark;
    this.#at = this.#mark;
    this.#mark = -1;
  }

  /** Nothing will be taken back. */
  release(): void {
    this.#mark = -1;
  }

  /** The next character without reading it; "" at the end, or where more was read than can be taken back. */
  *peek(): Reading<string> {
    if (this.#mark >= 0 && (this.#at - this.#mark >= takenBackMax || this.#takenBack > takenBackSumMax)) return "";
    while (this.#at >= this.#text.length) {
      if (this.#ended) return "";
      yield;
    }
    return this.#text.charAt(this.#at);
  }

  /** Reads the characters that `peek` has shown. */
  skip(count = 1): void {
    this.#at += count;
  }

  /** Whether the text has ended here. */
  *over(): Reading<boolean> {
    while (this.#at >= this.#text.length) {
      if (this.#ended) return true;
      yield;
    }
    return false;
  }

  /** Reads white space. */
  *space(): Reading<void> {
    for (;;) {
      const next = yield* this.peek();
      if (next === "" || !isSpace(next)) return;
      this.skip();
    }
  }

  /** Reads the literal if it comes next. */
  *accept(literal: string): Reading<boolean> {
    for (;;) {
      const here = this.#text.slice(this.#at, this.#at + literal.length);
      if (here === literal) {
        this.skip(literal.length);
        return true;
      }
      if (!literal.startsWith(here) || this.#ended) return false;
      yield;
    }
  }

  /** Reads the allowed characters that are there; waits for one, unless another comes next. */
  *run(allowed: (character: string) => boolean): Reading<string> {
    if ((yield* this.peek()) === "") return "";
    let to = this.#at;
    while (to < this.#text.length && allowed(this.#text.charAt(to))) to += 1;
    const text = this.#text.slice(this.#at, to);
    this.#at = to;
    return text;
  }

  /**
   * Reads up to the first of the markers and tells which it is; the marker is left. What can't belong to a marker is
   * told at once. -1: the text ended, and all of it was told.
   */
  *until(markers: readonly string[], tell: (text: string) => void): Reading<number> {
    for (;;) {
      const found = firstOf(markers, this.#text, this.#at);
      const to = found
        ? found.at
        : this.#ended
          ? this.#text.length
          : this.#text.length - this.#begun(markers, this.#at);
      if (to > this.#at) tell(this.#text.slice(this.#at, to));
      this.#at = Math.max(this.#at, to);
      if (found) return found.which;
      if (this.#ended) return -1;
      yield;
    }
  }

  /**
   * What comes next, so many characters from here, without reading it: what can't belong to a marker. "": a marker comes
   * there, or the text has ended.
   */
  *ahead(count: number, markers: readonly string[]): Reading<string> {
    for (;;) {
      const from = this.#at + count;
      const found = firstOf(markers, this.#text, from);
      const to = found ? found.at : this.#ended ? this.#text.length : this.#text.length - this.#begun(markers, from);
      if (found || this.#ended || to > from) return this.#text.slice(from, to);
      yield;
    }
  }

  /** Reads up to the first of the markers, at most so many characters, and the marker. Undefined: none came. */
  *upTo(markers: readonly string[], charactersMax: number): Reading<{ text: string; which: number } | undefined> {
    const longest = Math.max(...markers.map((marker) => marker.length));
    for (;;) {
      const found = firstOf(markers, this.#text, this.#at);
      if (found && found.at - this.#at <= charactersMax) {
        const text = this.#text.slice(this.#at, found.at);
        this.#at = found.at + (markers[found.which]?.length ?? 0);
        return { text, which: found.which };
      }
      if (found || this.#ended || this.#text.length - this.#at > charactersMax + longest) return undefined;
      yield;
    }
  }

  /** The length of the longest end of the text, from there on, that begins a marker. */
  #begun(markers: readonly string[], from: number): number {
    const longest = Math.max(...markers.map((marker) => marker.length));
    for (let length = Math.min(this.#text.length - from, longest - 1); length > 0; length -= 1) {
      const end = this.#text.slice(this.#text.length - length);
      if (markers.some((marker) => marker.length > length && marker.startsWith(end))) return length;
    }
    return 0;
  }
}

/** Whether the character may belong to a number or a word of JSON or Python. */
export function isWordPart(character: string): boolean {
  return /[-+.\w]/.test(character);
}

/** Whether the character separates words in the texts that models write. */
export function isSpace(character: string): boolean {
  return character === " " || character === "\n" || character === "\r" || character === "\t";
}

/** The marker that begins first; of those that begin at one place, the first of the list. */
function firstOf(markers: readonly string[], text: string, from: number): { at: number; which: number } | undefined {
  let best: { at: number; which: number } | undefined;
  markers.forEach((marker, which) => {
    const at = text.indexOf(marker, from);
    if (at >= 0 && (!best || at < best.at)) best = { at, which };
  });
  return best;
}
