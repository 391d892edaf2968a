import { describe, expect, test } from "vitest";
import {
  type Damage,
  headBytes,
  isRecord,
  readRecords,
  RecordType,
  seal,
} from "../../../../services/router/journal/format.ts";
import { type Progress, readProgress, writeProgress } from "../../../../services/router/journal/progress.ts";
import {
  headerBytes,
  headerFrom,
  readHeader,
  readSegmentName,
  segmentName,
} from "../../../../services/router/journal/segment-header.ts";

/** A journal of records of all kinds and many lengths, and where each of them begins. */
function journal(): { bytes: Buffer; begins: number[]; payloads: Buffer[] } {
  const bytes = Buffer.alloc(2_048);
  const begins: number[] = [];
  const payloads: Buffer[] = [];
  let at = 0;
  for (let i = 0; i < 24; i++) {
    const payload = Buffer.alloc(1 + ((i * 37) % 61), i % 3 === 0 ? 0 : i);
    payload.copy(bytes, at + headBytes);
    begins.push(at);
    payloads.push(payload);
    at = seal(bytes, at, ((i % 4) + 1) as RecordType, at + headBytes + payload.length);
  }
  begins.push(at);
  return { bytes: bytes.subarray(0, at + 64), begins, payloads };
}

function readAll(bytes: Buffer): { payloads: Buffer[]; damages: Damage[] } {
  const payloads: Buffer[] = [];
  const damages: Damage[] = [];
  for (const read of readRecords(bytes, 0)) {
    if (isRecord(read)) payloads.push(read.payload);
    else damages.push(read);
  }
  return { payloads, damages };
}

describe("records", () => {
  const whole = journal();
  const end = whole.begins.at(-1) ?? 0;

  test("are read as they were written", () => {
    expect(readAll(whole.bytes)).toEqual({ payloads: whole.payloads, damages: [] });
    expect(readAll(Buffer.alloc(100))).toEqual({ payloads: [], damages: [] });
    expect(readAll(Buffer.alloc(0))).toEqual({ payloads: [], damages: [] });
  });

  test("cut at every byte: all before the cut are kept, and the rest of one is told to be torn", () => {
    for (let cut = 0; cut <= end; cut++) {
      const bytes = Buffer.from(whole.bytes);
      bytes.fill(0, cut);
      const complete = whole.begins.filter((begin) => begin <= cut).length - 1;
      const { payloads, damages } = readAll(bytes);
      expect(payloads).toEqual(whole.payloads.slice(0, complete));
      const begun = cut > (whole.begins[complete] ?? 0);
      expect(damages.map(({ torn, from }) => [torn, from])).toEqual(begun ? [[true, whole.begins[complete]]] : []);
      // Also where the file itself ends there.
      expect(readAll(whole.bytes.subarray(0, cut)).payloads).toEqual(whole.payloads.slice(0, complete));
    }
  });

  test("with any one bit flipped: that record is told to be damaged, all others are kept", () => {
    for (let bit = 0; bit < end * 8; bit++) {
      const bytes = Buffer.from(whole.bytes);
      const at = bit >>> 3;
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (bit & 7)), at);
      const hit = whole.begins.findLastIndex((begin) => begin <= at);
      const { payloads, damages } = readAll(bytes);
      expect(payloads).toEqual(whole.payloads.toSpliced(hit, 1));
      expect(damages).toEqual([{ from: whole.begins[hit], until: whole.begins[hit + 1], torn: false }]);
    }
  });

  test("with anything at all in between: whole ones are found again", () => {
    let seed = 7;
    const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 16;
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(whole.bytes);
      const from = random() % end;
      const until = Math.min(end, from + 1 + (random() % 200));
      for (let at = from; at < until; at++) bytes[at] = random();
      const untouched = whole.payloads.filter(
        (_, i) => (whole.begins[i + 1] ?? 0) <= from || (whole.begins[i] ?? 0) >= until,
      );
      const { payloads } = readAll(bytes);
      for (const payload of untouched) expect(payloads.some((read) => read.equals(payload))).toBe(true);
      expect(payloads.every((read) => whole.payloads.some((payload) => payload.equals(read)))).toBe(true);
    }
  });
});

describe("a segment's header", () => {
  const header = { number: 4_294_967_297, run: "0123456789ab", createdMs: 1_795_000_000_123 };

  test("is read as it was written, and the name tells the same", () => {
    expect(readHeader(headerFrom(header))).toEqual({ kind: "header", header });
    const { number, run } = header;
    expect(readSegmentName(segmentName({ number: 12, run }))).toEqual({ number: 12, run });
    expect(readSegmentName(segmentName({ number, run }))).toEqual({ number, run });
    for (const name of ["journal.lock", "dead", "12-0123456789ab.journal", "0000000012-0123456789ab.journal.12"])
      expect(readSegmentName(name)).toBeUndefined();
  });

  test("of another version is told apart from a damaged one", () => {
    expect(readHeader(headerFrom(header, 2))).toEqual({ kind: "version", version: 2 });
    for (let bit = 0; bit < headerBytes * 8; bit++) {
      const bytes = headerFrom(header);
      bytes.writeUInt8(bytes.readUInt8(bit >>> 3) ^ (1 << (bit & 7)), bit >>> 3);
      expect(readHeader(bytes)).toEqual({ kind: "damaged" });
    }
    expect(readHeader(Buffer.alloc(12))).toEqual({ kind: "damaged" });
  });
});

describe("progress", () => {
  const progress: Progress = {
    handle: 4_000_000_000,
    sequence: 9,
    completionTokens: 123,
    reasoningTokens: 7,
    elapsedMs: 3_600_000,
    firstTokenMs: 250,
    estimated: true,
  };

  test("is read as it was written, to the millisecond", () => {
    for (const one of [progress, { ...progress, firstTokenMs: undefined, estimated: false }]) {
      const buffer = Buffer.alloc(64, 0xff);
      const end = writeProgress(buffer, 3, one);
      expect(readProgress(buffer.subarray(3, end))).toEqual(one);
    }
    const buffer = Buffer.alloc(64);
    const end = writeProgress(buffer, 0, { ...progress, elapsedMs: 12.75, completionTokens: 2 ** 40 });
    expect(readProgress(buffer.subarray(0, end))).toMatchObject({ elapsedMs: 12, completionTokens: 2 ** 32 - 2 });
    expect(readProgress(Buffer.alloc(24))).toBeUndefined();
  });
});
