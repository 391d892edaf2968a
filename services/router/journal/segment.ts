import { writeSync } from "node:fs";
import { type FileHandle, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { headerBytes, headerFrom, type SegmentHeader, segmentName } from "./segment-header.ts";

/** Zeros are written in pieces of this: one is shared by all segments. */
const zeros = Buffer.alloc(262_144);

/**
 * A part of the journal: a file of a fixed length, filled with zeros when it is made, so that what is written into it
 * later needs no room on the disk. Without a file, it only keeps account: of what could not be written.
 */
export class Segment {
  readonly header: SegmentHeader;
  readonly path: string;
  /** Its length. */
  readonly bytes: number;
  /** Where the next record goes. */
  at = headerBytes;
  /** Final records that were put into it. */
  finals = 0;
  /** Of those, how many the ledger has not acknowledged. */
  unacknowledged = 0;
  /** Running requests whose newest snapshot is in it. */
  running = 0;
  /** Kinds of notes that are in it: bit k stands for kind k. */
  noted = 0;
  /** Finals that wait to be shipped, oldest first. */
  unsent: Uint8Array[] = [];
  /** Length of those of them that memory holds for this purpose only. */
  unsentBytes = 0;
  /** Finals, in their order in the file, that are not in {@link unsent} any more. */
  taken = 0;
  /** Finals at its beginning that an earlier segment refused: they are counted there. */
  takenIn = 0;
  /** Finals are to be read from the file: memory was short, or another process wrote them. */
  readBack = false;
  readonly #file: FileHandle | undefined;

  constructor(header: SegmentHeader, path: string, bytes: number, file?: FileHandle) {
    this.header = header;
    this.path = path;
    this.bytes = bytes;
    this.#file = file;
  }

  /** Bytes that records may still fill. */
  get room(): number {
    return this.bytes - this.at;
  }

  /** Nothing of it is on disk, and nothing has to be. */
  get inMemory(): boolean {
    return this.path === "";
  }

  /** Writes into the file, at once. Throws what the system says. */
  write(bytes: Buffer, from: number, until: number, position: number): void {
    if (this.#file === undefined) return;
    for (let at = from; at < until; ) at += writeSync(this.#file.fd, bytes, at, until - at, position + at - from);
  }

  /** What is in the file up to now. */
  async read(): Promise<Buffer> {
    if (this.inMemory) return Buffer.alloc(0);
    const until = this.#file === undefined ? undefined : this.at;
    return (await readFile(this.path)).subarray(0, until);
  }

  /** Nothing more is written into it. */
  async close(): Promise<void> {
    await this.#file?.close();
  }

  async remove(): Promise<void> {
    await this.close();
    if (!this.inMemory) await rm(this.path, { force: true });
  }
}

/** Makes an empty segment; takes its whole room on the disk now, off the hot path. */
export async function createSegment(folder: string, header: SegmentHeader, bytes: number): Promise<Segment> {
  const path = join(folder, segmentName(header));
  const file = await open(path, "wx", 0o600);
  try {
    for (let at = 0; at < bytes; at += zeros.length) await file.write(zeros, 0, Math.min(zeros.length, bytes - at), at);
    await file.write(headerFrom(header), 0, headerBytes, 0);
  } catch (error) {
    await file.close();
    await rm(path, { force: true });
    throw error;
  }
  return new Segment(header, path, bytes, file);
}
