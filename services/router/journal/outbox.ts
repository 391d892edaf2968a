import { isRecord, readRecords, RecordType } from "./format.ts";
import type { Segment } from "./segment.ts";
import { headerBytes } from "./segment-header.ts";

/** Finals on their way to the ledger, and the segments that they are to be acknowledged in. */
export interface Batch {
  readonly records: Uint8Array[];
  readonly segments: Map<Segment, number>;
}

/** Finals that are held in memory to be shipped: about 40,000 of them. What is over is read from the files. */
const retainedBytesMax = 16 * 1024 * 1024;
/** Finals are copied into blocks of this: an allocation for each would cost more than the copy. */
const blockBytes = 65_536;
/** In a FINAL's payload, before the UsageRecord. */
export const handleBytes = 4;

/**
 * Finals that wait to be shipped, oldest first. They are held in memory as they are made; when that gets too much, those
 * of the segment that is written to are dropped, and read from its file when it is their turn.
 */
export class Outbox {
  readonly #segments: readonly Segment[];
  /** Finals that are in no file. */
  readonly #loose: Segment;
  readonly #damaged: (segment: Segment, records: number) => void;
  #retainedBytes = 0;
  /** The segment whose file is being read, and how many finals it held when that began. */
  #reading: { readonly segment: Segment; readonly held: number } | undefined;
  #block: Buffer = Buffer.alloc(0);
  #blockAt = 0;

  constructor(segments: readonly Segment[], loose: Segment, damaged: (segment: Segment, records: number) => void) {
    this.#segments = segments;
    this.#loose = loose;
    this.#damaged = damaged;
  }

  /** Finals that the ledger has not acknowledged. */
  get unacknowledged(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.unacknowledged, this.#loose.unacknowledged);
  }

  /** A copy of a final, to be added. */
  copied(buffer: Buffer, from: number, until: number): Buffer {
    const length = until - from;
    if (this.#blockAt + length > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(Math.max(blockBytes, length));
      this.#blockAt = 0;
    }
    const copy = this.#block.subarray(this.#blockAt, this.#blockAt + length);
    buffer.copy(copy, 0, from, until);
    this.#blockAt += length;
    return copy;
  }

  /** Adds a final that was put into a segment; undefined: into none. */
  add(segment: Segment | undefined, record: Uint8Array): void {
    const home = segment ?? this.#loose;
    home.finals += 1;
    home.unacknowledged += 1;
    if (home.readBack) return;
    home.unsent.push(record);
    home.unsentBytes += record.length;
    this.#retainedBytes += record.length;
    // What is being read is dropped once it is known what the file gives.
    if (this.#retainedBytes > retainedBytesMax && segment && segment !== this.#reading?.segment) this.#drop(segment);
  }

  /** Adds a final of a former process, which no file has. */
  addLost(segment: Segment, record: Uint8Array): void {
    segment.unacknowledged += 1;
    segment.unsent.push(record);
  }

  /** Records of a segment are not in its file: finals that only the file would have had are held here. */
  rescue(segment: Segment, records: Buffer): void {
    const isRead = segment === this.#reading?.segment;
    if (!segment.readBack && !isRead) return;
    // They came while it is read: its copies of them go where they go.
    if (isRead) this.#dropNewer();
    for (const record of readRecords(records, 0)) {
      if (!isRecord(record) || record.type !== RecordType.FINAL) continue;
      segment.finals -= 1;
      segment.unacknowledged -= 1;
      this.add(undefined, record.payload.subarray(handleBytes));
    }
  }

  /**
   * Takes the oldest finals, at most so many and about so many bytes. A segment whose finals are to be read first is
   * returned instead if it is the next: `read` it, then take again.
   *
   * @param putOff segments that can't be read now: what is behind them goes first.
   */
  take(recordsMax: number, bytesMax: number, putOff?: ReadonlySet<Segment>): Batch | Segment | undefined {
    const batch: Batch = { records: [], segments: new Map() };
    let bytes = 0;
    for (const segment of [this.#loose, ...this.#segments]) {
      if (putOff?.has(segment)) continue;
      if (segment.readBack) {
        if (batch.records.length > 0) break;
        return segment;
      }
      let count = 0;
      for (; count < segment.unsent.length && batch.records.length < recordsMax && bytes < bytesMax; count++) {
        const record = segment.unsent[count] ?? new Uint8Array();
        batch.records.push(record);
        bytes += record.length;
      }
      if (count > 0) this.#took(segment, count, batch);
      if (segment.unsent.length > 0) break;
    }
    return batch.records.length > 0 ? batch : undefined;
  }

  /**
   * Reads finals from a segment's file, one segment at a time. What is appended to it from now on is held in memory again.
   * Throws what the system says; then all is as before, and it may be read again.
   */
  async read(segment: Segment): Promise<void> {
    const inFlight = segment.unacknowledged - segment.unsent.length - (segment.finals - segment.taken);
    const { finals, taken } = segment;
    segment.readBack = false;
    this.#reading = { segment, held: segment.unsent.length };
    let bytes: Buffer;
    try {
      bytes = await segment.read();
    } catch (error) {
      // The file has them as well: it gives them when it is read again.
      this.#dropNewer();
      segment.readBack = true;
      throw error;
    } finally {
      this.#reading = undefined;
    }
    const read: Uint8Array[] = [];
    for (const record of readRecords(bytes, headerBytes)) {
      if (isRecord(record) && record.type === RecordType.FINAL) read.push(record.payload.subarray(handleBytes));
    }
    const missing = segment.takenIn + finals - read.length;
    // Which are missing is not known, so those that were shipped before are shipped again: that does no harm.
    const rest = missing > 0 ? read : read.slice(segment.takenIn + taken);
    if (missing > 0) {
      this.#damaged(segment, missing);
      segment.unacknowledged = inFlight + rest.length + segment.unsent.length;
    }
    segment.unsent = [...rest, ...segment.unsent];
  }

  #took(segment: Segment, count: number, batch: Batch): void {
    const taken = segment.unsent.splice(0, count);
    const bytes = taken.reduce((sum, record) => sum + record.length, 0);
    const held = Math.min(bytes, segment.unsentBytes);
    segment.unsentBytes -= held;
    this.#retainedBytes -= held;
    batch.segments.set(segment, count);
  }

  /** Drops the finals that were added to the segment being read since that began. */
  #dropNewer(): void {
    if (this.#reading === undefined) return;
    const { segment, held } = this.#reading;
    const bytes = segment.unsent.splice(held).reduce((sum, record) => sum + record.length, 0);
    segment.unsentBytes -= bytes;
    this.#retainedBytes -= bytes;
  }

  #drop(segment: Segment): void {
    segment.taken = segment.finals - segment.unsent.length;
    segment.readBack = true;
    segment.unsent = [];
    this.#retainedBytes -= segment.unsentBytes;
    segment.unsentBytes = 0;
  }
}
