const none = Buffer.alloc(0);

/**
 * Turns bytes that come in pieces into text, a whole character at a time: the bytes of one that is not complete are held
 * back. All pieces together and the rest are what the bytes are as one text.
 */
export class CharacterStream {
  #held: Buffer = none;

  /** The piece is what lies between `start` and `end`. */
  push(piece: Uint8Array, start = 0, end = piece.length): string {
    if (this.#held.length > 0) {
      const bytes = Buffer.concat([this.#held, piece.subarray(start, end)]);
      this.#held = none;
      return this.push(bytes);
    }
    const bytes = asBuffer(piece);
    const whole = end - partialLength(bytes, start, end);
    if (whole < end) this.#held = Buffer.from(bytes.subarray(whole, end));
    return bytes.toString("utf8", start, whole);
  }

  /** The bytes have ended: what was held back will never be a character. */
  flush(): string {
    const rest = this.#held.toString("utf8");
    this.#held = none;
    return rest;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** How many bytes before `end` begin a character whose other bytes are still to come: 0 to 3. */
export function partialLength(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const deepest = Math.min(3, end - start);
  for (let back = 1; back <= deepest; back += 1) {
    const byte = bytes[end - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
  }
  return 0;
}
