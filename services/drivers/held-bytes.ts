const nothing = Buffer.alloc(0);

/** Less is not worth growing from. */
const leastBytes = 256;

/** So much room is made at once where so much is announced. A peer may announce more than it ever sends. */
const announcedBytesMax = 65_536;

/**
 * Bytes that come in pieces and are wanted as one. They lie in one buffer that doubles as it fills: a list of the pieces
 * would cost some two hundred bytes for each of them, and a peer may send them one byte at a time.
 */
export class HeldBytes {
  #buffer = nothing;
  #length = 0;

  /** How many are held. */
  get length(): number {
    return this.#length;
  }

  /** What is held, until more is added. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Adds a copy of what lies between `start` and `end`. `announced`: how many bytes will be held in all, if that is known. */
  add(bytes: Buffer, start: number, end: number, announced = 0): void {
    const length = this.#length + end - start;
    if (length > this.#buffer.length) this.#grow(length, announced);
    bytes.copy(this.#buffer, this.#length, start, end);
    this.#length = length;
  }

  /** What is held, which is the caller's from here on: nothing is held any more. */
  take(): Buffer {
    const taken = this.bytes;
    this.#buffer = nothing;
    this.#length = 0;
    return taken;
  }

  #grow(length: number, announced: number): void {
    const ample = Math.max(leastBytes, 2 * this.#buffer.length, Math.min(announced, announcedBytesMax));
    const grown = Buffer.allocUnsafe(Math.max(length, ample));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}
