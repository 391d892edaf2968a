import { frameBytes, headBytes, isRecord, payloadBytesMax, readRecords, RecordType, seal } from "./format.ts";
import type { Segment } from "./segment.ts";
import type { SegmentChain } from "./segment-chain.ts";

/** What is gathered in a turn of the event loop before it is written in between. */
const bufferBytes = 262_144;
const recordBytesMax = payloadBytesMax + frameBytes;

/** Gathers records in a buffer, and writes them into the active segment with one call to the system. */
export class RecordWriter {
  /** A payload is written into it, from where {@link begin} says on. */
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(bufferBytes);
  readonly #chain: SegmentChain;
  /** Records could not be written: they are in no file, or in another one than they were counted to. */
  readonly #lost: (segment: Segment, records: Buffer) => void;
  /** Where the gathered records end. */
  #at = 0;

  constructor(chain: SegmentChain, lost: (segment: Segment, records: Buffer) => void) {
    this.#chain = chain;
    this.#lost = lost;
  }

  /** Begins a record. Returns where its payload goes in {@link buffer}. */
  begin(): number {
    if (this.#at + recordBytesMax > bufferBytes) this.write();
    return this.#at + headBytes;
  }

  /** How long the record that was begun is, with its frame. */
  sizeOf(payloadEnd: number): number {
    return payloadEnd - this.#at - headBytes + frameBytes;
  }

  /** Ends the record that was begun. Returns the segment that it goes into; undefined: it has no room in any. */
  commit(type: RecordType, payloadEnd: number): Segment | undefined {
    const size = this.sizeOf(payloadEnd);
    let segment = this.#chain.active;
    let end = payloadEnd;
    if (segment === undefined || size > segment.room) {
      const from = this.#at;
      this.write();
      segment = this.#chain.advance();
      if (segment === undefined) return undefined;
      this.buffer.copyWithin(0, from, payloadEnd);
      end -= from;
    }
    this.#at = seal(this.buffer, this.#at, type, end);
    segment.at += size;
    return segment;
  }

  /** Writes the record that was begun over an earlier one of the same length, at once. */
  overwrite(type: RecordType, payloadEnd: number, segment: Segment, position: number): void {
    const size = this.sizeOf(payloadEnd);
    const from = this.#at;
    this.write();
    if (segment !== this.#chain.active) {
      // It could not be written just now, and its place went with it.
      this.buffer.copyWithin(0, from, payloadEnd);
      this.commit(type, payloadEnd - from);
      return;
    }
    seal(this.buffer, from, type, payloadEnd);
    try {
      segment.write(this.buffer, from, from + size, position);
    } catch (error) {
      this.#chain.abandonActive(error);
    }
  }

  /** Writes what was gathered. What the system refuses goes into the next segment. */
  write(): void {
    const bytes = this.#at;
    const segment = this.#chain.active;
    this.#at = 0;
    if (bytes === 0 || segment === undefined) return;
    try {
      segment.write(this.buffer, 0, bytes, segment.at - bytes);
    } catch (error) {
      segment.at -= bytes;
      this.#lost(segment, Buffer.from(this.buffer.subarray(0, bytes)));
      const next = this.#chain.abandonActive(error);
      if (next) this.#again(next, bytes);
    }
  }

  #again(segment: Segment, bytes: number): void {
    try {
      segment.write(this.buffer, 0, bytes, segment.at);
      segment.at += bytes;
      segment.takenIn += finalsIn(this.buffer.subarray(0, bytes));
    } catch (error) {
      this.#chain.abandonActive(error);
    }
  }
}

function finalsIn(records: Buffer): number {
  let finals = 0;
  for (const record of readRecords(records, 0)) if (isRecord(record) && record.type === RecordType.FINAL) finals += 1;
  return finals;
}
