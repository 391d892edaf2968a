const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads the fields of a protobuf message one after the other, for the messages that come once a token: no objects, no
 * BigInts and no decoder of text between them and the bytes. Throws a RangeError for bytes that are no message.
 *
 *     while (reader.next(end)) if (reader.field === 2) text = reader.text(); else reader.skip();
 */
export class FieldReader {
  readonly bytes: Buffer;
  /** Where it reads. */
  at = 0;
  /** Of the field that is read now. */
  field = 0;
  type = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Goes to the next field before `end`; false: there is none. */
  next(end: number): boolean {
    if (this.at >= end) {
      if (this.at > end) throw new RangeError("a field is longer than its message");
      return false;
    }
    const tag = this.number();
    this.field = tag >>> 3;
    this.type = tag & 7;
    if (this.field === 0) throw new RangeError("a field of number 0");
    return true;
  }

  /** An unsigned number; what is above 32 bits is cut off, as the contract's types do it. */
  number(): number {
    return this.#varint() >>> 0;
  }

  /** A signed number of 32 bits. */
  signed(): number {
    return this.#varint() | 0;
  }

  /** A signed number of 64 bits, as near as a double comes. */
  long(): number {
    const low = this.#varint() >>> 0;
    return this.#high * 2 ** 32 + low;
  }

  flag(): boolean {
    const low = this.#varint();
    return low !== 0 || this.#high !== 0;
  }

  /** The end of the field of known length that begins here. */
  end(): number {
    if (this.type !== 2) throw new RangeError("a field of another type");
    const end = this.number() + this.at;
    if (end > this.bytes.length) throw new RangeError("a field is longer than its message");
    return end;
  }

  /** The field's bytes, which are those of the message. */
  slice(): Buffer {
    const end = this.end();
    const bytes = this.bytes.subarray(this.at, end);
    this.at = end;
    return bytes;
  }

  /** Whether the bytes from here to `end` are the same as these. */
  holds(end: number, same: Uint8Array): boolean {
    const { bytes, at } = this;
    if (end - at !== same.length) return false;
    for (let index = 0; index < same.length; index += 1) if (bytes[at + index] !== same[index]) return false;
    return true;
  }

  /** The field's text. Bytes that are no UTF-8 become U+FFFD. */
  text(): string {
    const end = this.end();
    const text = this.bytes.toString("utf8", this.at, end);
    this.at = end;
    return text;
  }

  /** The field's text. Throws for bytes that are no UTF-8. */
  strictText(): string {
    const end = this.end();
    const text = this.bytes.toString("utf8", this.at, end);
    // A text may hold the character that stands for broken ones.
    if (text.includes("\uFFFD")) strict.decode(this.bytes.subarray(this.at, end));
    this.at = end;
    return text;
  }

  skip(): void {
    if (this.type === 0) this.#varint();
    else if (this.type === 1) this.at += 8;
    else if (this.type === 2) this.at = this.end();
    else if (this.type === 5) this.at += 4;
    else throw new RangeError(`a field of type ${this.type}`);
    if (this.at > this.bytes.length) throw new RangeError("a field is longer than its message");
  }

  /** The upper half of the last number. */
  #high = 0;

  /** The lower half, signed. */
  #varint(): number {
    const { bytes } = this;
    let byte = bytes[this.at];
    // Nearly all are of one byte.
    if (byte !== undefined && byte < 0x80) {
      this.at += 1;
      this.#high = 0;
      return byte;
    }
    let [low, high] = [0, 0];
    for (let shift = 0; shift < 70; shift += 7) {
      byte = bytes[this.at];
      if (byte === undefined) break;
      this.at += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.#high = high | 0;
        return low;
      }
    }
    throw new RangeError("a number without an end");
  }
}
