/** Looks for stop words in a text that grows by bytes. */
export interface StopWords {
  /** Whether the text has a stop word now. */
  push(bytes: Buffer): boolean;
  /** Where in the text the first stop word ended, in bytes. */
  readonly end: number | undefined;
}

/** Follows the text of one choice. */
export function createStopWords(words: readonly string[]): StopWords {
  const stops = words.map((word) => Buffer.from(word));
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let tail: Buffer = Buffer.alloc(0);
  let length = 0;
  let end: number | undefined;
  return {
    push(bytes) {
      length += bytes.length;
      const text = Buffer.concat([tail, bytes]);
      const ends = stops.flatMap((stop) => {
        const at = text.indexOf(stop);
        return at < 0 ? [] : [at + stop.length];
      });
      if (ends.length > 0) end = length - text.length + Math.min(...ends);
      tail = text.subarray(Math.max(0, text.length - longest));
      return end !== undefined;
    },
    get end() {
      return end;
    },
  };
}
