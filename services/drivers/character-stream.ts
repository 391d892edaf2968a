/**
 * Turns bytes that come in pieces into text, a whole character at a time: the bytes of one that is not complete are held
 * back. All pieces together and the rest are what the bytes are as one text.
 */
export class CharacterStream {
  #held: Buffer = Buffer.alloc(0);

  push(piece: Uint8Array): string {
    const isFirst = this.#held.length === 0;
    const bytes = isFirst ? asBuffer(piece) : Buffer.concat([this.#held, piece]);
    const missing = partialLength(bytes);
    const whole = bytes.length - missing;
    if (missing > 0) this.#held = Buffer.from(bytes.subarray(whole));
    else if (!isFirst) this.#held = Buffer.alloc(0);
    return bytes.toString("utf8", 0, whole);
  }

  /** The bytes have ended: what was held back will never be a character. */
  flush(): string {
    const rest = this.#held.toString("utf8");
    this.#held = Buffer.alloc(0);
    return rest;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** How many bytes at the end begin a character whose other bytes are still to come: 0 to 3. */
export function partialLength(bytes: Uint8Array): number {
  const deepest = Math.min(3, bytes.length);
  for (let back = 1; back <= deepest; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
  }
  return 0;
}
