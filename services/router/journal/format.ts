import { crc32 } from "node:zlib";

/**
 * What a record of the journal is:
 *
 * | bytes | |
 * |---|---|
 * | 2 | length of the payload, little endian; never 0 |
 * | 1 | type |
 * | 1 | check of the three before, so that a damaged length leads nobody astray |
 * | length | payload |
 * | 4 | CRC-32 of all that comes before |
 * | 1 | end mark, never 0: a record that was cut short in a file of zeros has none |
 *
 * Numbers in payloads are little endian. A segment's rest is zeros: a header of zeros is the end.
 */
export const RecordType = {
  /** A running request: its handle (4 bytes), then a UsageRecord in protobuf's binary form. A later one replaces it. */
  SNAPSHOT: 1,
  /** What a running request has received so far: see `progress.ts`. */
  PROGRESS: 2,
  /** A request that is over: its handle (4 bytes), then its final UsageRecord. */
  FINAL: 3,
  /** Somebody else's: its kind (1 byte), then what that one wrote. */
  NOTE: 4,
} as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export const headBytes = 4;
const tailBytes = 5;
/** What a record has beside its payload. */
export const frameBytes = headBytes + tailBytes;
/** The longest payload: two bytes hold its length. */
export const payloadBytesMax = 0xffff;

const endMark = 0xa5;
const checkSeed = 0x5a;
const typeMax = 4;

/** Completes a record whose payload was written from `at + headBytes` on. Returns where the next one begins. */
export function seal(buffer: Buffer, at: number, type: RecordType, payloadEnd: number): number {
  const length = payloadEnd - at - headBytes;
  const low = length & 0xff;
  const high = length >>> 8;
  buffer[at] = low;
  buffer[at + 1] = high;
  buffer[at + 2] = type;
  buffer[at + 3] = low ^ high ^ type ^ checkSeed;
  writeUint32(buffer, payloadEnd, crc32(buffer.subarray(at, payloadEnd)));
  buffer[payloadEnd + 4] = endMark;
  return payloadEnd + tailBytes;
}

/** Writes 4 bytes, little endian: Buffer's own method checks its arguments, which costs more than the writing. */
export function writeUint32(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value;
  buffer[at + 1] = value >>> 8;
  buffer[at + 2] = value >>> 16;
  buffer[at + 3] = value >>> 24;
}

/** A record that was read. The payload is a part of what was read from. */
export interface ReadRecord {
  readonly type: RecordType;
  readonly payload: Buffer;
}

/** Bytes that are no record. */
export interface Damage {
  readonly from: number;
  readonly until: number;
  /** A write that its process did not live to end: nothing that anybody was told of. */
  readonly torn: boolean;
}

export function isRecord(read: ReadRecord | Damage): read is ReadRecord {
  return "type" in read;
}

/** Reads a segment's records from `from` on, and tells of what is damaged between them. It never throws. */
export function* readRecords(bytes: Buffer, from: number): Generator<ReadRecord | Damage> {
  const end = endOfData(bytes, from);
  let at = from;
  while (at < end) {
    const next = endOfRecord(bytes, at);
    if (next > 0) {
      yield { type: typeAt(bytes, at), payload: bytes.subarray(at + headBytes, next - tailBytes) };
      at = next;
      continue;
    }
    const resumed = nextRecord(bytes, at, end);
    yield { from: at, until: resumed, torn: resumed === end && isTorn(bytes, at, end) };
    at = resumed;
  }
}

/** Where the zeros begin that end a segment. */
function endOfData(bytes: Buffer, from: number): number {
  let end = bytes.length;
  while (end > from && bytes[end - 1] === 0) end -= 1;
  return end;
}

/** Where the record at `at` ends; 0 if there is none. */
function endOfRecord(bytes: Buffer, at: number): number {
  if (!hasHead(bytes, at)) return 0;
  const payloadEnd = at + headBytes + lengthAt(bytes, at);
  const end = payloadEnd + tailBytes;
  if (end > bytes.length || bytes[end - 1] !== endMark) return 0;
  return bytes.readUInt32LE(payloadEnd) === crc32(bytes.subarray(at, payloadEnd)) ? end : 0;
}

/** Where the next record behind a damage begins, or `end`. The length of the damaged one is tried first. */
function nextRecord(bytes: Buffer, damaged: number, end: number): number {
  if (hasHead(bytes, damaged)) {
    const behind = damaged + frameBytes + lengthAt(bytes, damaged);
    if (behind === end || (behind < end && endOfRecord(bytes, behind) > 0)) return behind;
  }
  for (let at = damaged + 1; at < end; at++) if (endOfRecord(bytes, at) > 0) return at;
  return end;
}

/** Whether the last bytes of a segment look like the beginning of a record, of which the rest was not written. */
function isTorn(bytes: Buffer, at: number, end: number): boolean {
  if (end - at < headBytes) return true;
  return hasHead(bytes, at) && end < at + frameBytes + lengthAt(bytes, at);
}

function hasHead(bytes: Buffer, at: number): boolean {
  if (at + headBytes > bytes.length) return false;
  const type = typeAt(bytes, at);
  if (type < 1 || type > typeMax || lengthAt(bytes, at) === 0) return false;
  return byteAt(bytes, at + 3) === (byteAt(bytes, at) ^ byteAt(bytes, at + 1) ^ type ^ checkSeed);
}

function lengthAt(bytes: Buffer, at: number): number {
  return byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8);
}

function typeAt(bytes: Buffer, at: number): RecordType {
  return byteAt(bytes, at + 2) as RecordType;
}

function byteAt(bytes: Buffer, at: number): number {
  return bytes[at] ?? 0;
}
