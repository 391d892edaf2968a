import { crc32 } from "node:zlib";

/** What a segment says of itself, in its first {@link headerBytes} bytes and in its name. */
export interface SegmentHeader {
  /** Orders the segments of a journal; from 1. */
  readonly number: number;
  /** The process that wrote it: handles of requests are its own. 12 characters of [0-9a-z]. */
  readonly run: string;
  /** When it was made, on the wall clock in milliseconds. */
  readonly createdMs: number;
}

/** What a file of the journal turned out to be. */
export type HeaderRead =
  | { readonly kind: "header"; readonly header: SegmentHeader }
  /** Its first bytes are damaged: its name tells as much. */
  | { readonly kind: "damaged" }
  | { readonly kind: "version"; readonly version: number };

/** Magic (8), version (2), reserved (6), number (8), time (8), run (12), CRC-32 of all that (4). */
export const headerBytes = 48;
/** Another one is another format. */
const formatVersion = 1;

const magic = Buffer.from("WEIRJRNL", "latin1");
const crcAt = headerBytes - 4;
const fileName = /^(\d{10})-([0-9a-z]{12})\.journal$/;

/** The header's bytes. */
export function headerFrom({ number, run, createdMs }: SegmentHeader, version: number = formatVersion): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  magic.copy(bytes);
  bytes.writeUInt16LE(version, 8);
  bytes.writeBigUInt64LE(BigInt(number), 16);
  bytes.writeBigUInt64LE(BigInt(Math.round(createdMs)), 24);
  bytes.write(run, 32, 12, "latin1");
  bytes.writeUInt32LE(crc32(bytes.subarray(0, crcAt)), crcAt);
  return bytes;
}

/** Reads a header. Of another version no more is known than where it and its check stand. */
export function readHeader(bytes: Buffer): HeaderRead {
  if (bytes.length < headerBytes || !bytes.subarray(0, 8).equals(magic)) return { kind: "damaged" };
  if (bytes.readUInt32LE(crcAt) !== crc32(bytes.subarray(0, crcAt))) return { kind: "damaged" };
  const version = bytes.readUInt16LE(8);
  if (version !== formatVersion) return { kind: "version", version };
  return {
    kind: "header",
    header: {
      number: Number(bytes.readBigUInt64LE(16)),
      createdMs: Number(bytes.readBigUInt64LE(24)),
      run: bytes.toString("latin1", 32, 44),
    },
  };
}

/** The name of a segment's file; names sort as numbers do. */
export function segmentName({ number, run }: Pick<SegmentHeader, "number" | "run">): string {
  return `${String(number).padStart(10, "0")}-${run}.journal`;
}

/** What a file's name tells; undefined: it is no segment. */
export function readSegmentName(name: string): Pick<SegmentHeader, "number" | "run"> | undefined {
  const [, number, run] = fileName.exec(name) ?? [];
  return number !== undefined && run !== undefined ? { number: Number(number), run } : undefined;
}
