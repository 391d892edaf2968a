import { isUtf8 } from "node:buffer";

/**
 * Reads protobuf's binary form without making messages: a ledger takes in tens of thousands of records a second, and
 * keeps none of them as objects. What lies beyond the end reads as zero and sets {@link WireReader.broken}.
 */
export class WireReader {
  /** The bytes do not follow the form. */
  broken = false;
  readonly #bytes: Buffer;
  #at: number;
  #end: number;

  /** Reads a message that lies from `start` up to and not including `end`. */
  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** Whether there is another field in the message that is read now. */
  get more(): boolean {
    return !this.broken && this.#at < this.#end;
  }

  /** Where it reads. */
  get at(): number {
    return this.#at;
  }

  /** Goes back to where it was. */
  back(at: number): void {
    this.#at = at;
  }

  /** The bytes from `start` to here, as characters: equal for equal bytes only. */
  since(start: number): string {
    return this.#bytes.toString("latin1", start, this.#at);
  }

  /** Number and wire type of the next field, as `number * 8 + type`. */
  tag(): number {
    return this.varint();
  }

  /** Any varint as an int64. Beyond 2^53 it is not exact, and still beyond 2^53. */
  varint(): number {
    let shift = 1;
    let value = 0;
    // What is missing to 2^63 - 1: the distance of a negative number from -1, exact where it is small.
    let missing = 0;
    // Nine bytes hold 63 bits; a tenth is the sign.
    for (let place = 0; place < 9; place++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
      missing += (~byte & 0x7f) * shift;
      shift *= 128;
    }
    const last = this.#byte();
    if (last > 1) this.broken = true;
    return last === 1 ? -missing - 1 : value;
  }

  /** An enum or an int32: its low 32 bits. */
  int32(): number {
    const value = this.varint();
    return Math.abs(value) < 2 ** 31 ? value : Number.NaN;
  }

  /** Text; undefined if it is not UTF-8 or holds U+0000, which PostgreSQL cannot keep. */
  text(): string | undefined {
    const length = this.#length();
    const start = this.#at;
    this.#at += length;
    let ascii = true;
    for (let at = start; at < this.#at; at++) {
      const byte = this.#bytes[at] ?? 0;
      if (byte === 0) return undefined;
      if (byte >= 0x80) ascii = false;
    }
    if (ascii) return this.#bytes.toString("latin1", start, this.#at);
    const bytes = this.#bytes.subarray(start, this.#at);
    return isUtf8(bytes) ? bytes.toString("utf8") : undefined;
  }

  /** Goes into a message; `leave` with what this returned goes back out. */
  enter(): number {
    const length = this.#length();
    const outer = this.#end;
    this.#end = this.#at + length;
    return outer;
  }

  /** Goes back to the message around. */
  leave(outer: number): void {
    this.#end = outer;
  }

  /** Passes over a field that is of no interest, or not known here. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.varint();
        return;
      case 1:
        this.#pass(8);
        return;
      case 2:
        this.#pass(this.#length());
        return;
      case 5:
        this.#pass(4);
        return;
      default:
        this.broken = true;
    }
  }

  #byte(): number {
    if (this.#at >= this.#end) {
      this.broken = true;
      return 0;
    }
    return this.#bytes[this.#at++] ?? 0;
  }

  #pass(count: number): void {
    if (this.#at + count > this.#end) this.broken = true;
    else this.#at += count;
  }

  /** The length of what follows, which lies within the message. */
  #length(): number {
    const length = this.varint();
    if (length >= 0 && this.#at + length <= this.#end) return length;
    this.broken = true;
    return 0;
  }
}
