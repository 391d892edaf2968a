/** A number's bytes beyond this are written by division: bit operations know 32 of them. */
const smallMax = 0x7fffffff;

/**
 * Writes protobuf's wire format into a buffer, with what the journal needs of it: a message is written in a fraction of
 * what building it and `toBinary` cost. Fields with their default are left out, as in proto3.
 */
export class WireWriter {
  buffer: Buffer;
  /** Where the next byte goes. */
  at = 0;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
  }

  /** An integer from 0 to 2^53. */
  varint(value: number): void {
    const { buffer } = this;
    let rest = value;
    while (rest > smallMax) {
      buffer[this.at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      buffer[this.at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[this.at++] = rest;
  }

  /** An integer or enum field. */
  uint(field: number, value: number): void {
    if (value === 0) return;
    this.varint(field << 3);
    this.varint(value);
  }

  /** A string field. */
  text(field: number, text: string): void {
    const { length } = text;
    if (length === 0) return;
    this.varint((field << 3) | 2);
    const at = this.at;
    if (length < 128) {
      const { buffer } = this;
      let plain = true;
      for (let i = 0; i < length && plain; i++) {
        const code = text.charCodeAt(i);
        plain = code < 0x80;
        buffer[at + 1 + i] = code;
      }
      if (plain) {
        buffer[at] = length;
        this.at = at + 1 + length;
        return;
      }
    }
    this.varint(Buffer.byteLength(text));
    this.at += this.buffer.write(text, this.at, "utf8");
  }

  /** Fields that were written before. */
  fields(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** Begins a message field. Returns what {@link endMessage} wants. */
  beginMessage(field: number): number {
    this.varint((field << 3) | 2);
    return this.at++;
  }

  endMessage(begun: number): void {
    const length = this.at - begun - 1;
    if (length < 0x80) {
      this.buffer[begun] = length;
      return;
    }
    // The length takes a second byte, which hardly any of ours does; a third is never needed.
    this.buffer.copyWithin(begun + 2, begun + 1, this.at);
    this.buffer[begun] = (length & 0x7f) | 0x80;
    this.buffer[begun + 1] = length >>> 7;
    this.at += 1;
  }

  /** A Timestamp or Duration of so many milliseconds, which may have a fraction. */
  milliseconds(field: number, ms: number): void {
    const begun = this.beginMessage(field);
    const seconds = Math.floor(ms / 1_000);
    // To the microsecond: more is noise.
    const micros = Math.min(999_999, Math.round((ms - seconds * 1_000) * 1_000));
    this.uint(1, seconds);
    this.uint(2, micros * 1_000);
    this.endMessage(begun);
  }
}
