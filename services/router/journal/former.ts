import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isRecord, readRecords, RecordType } from "./format.ts";
import { handleBytes } from "./outbox.ts";
import { type Progress, readProgress } from "./progress.ts";
import { Segment } from "./segment.ts";
import type { JournalTrouble } from "./segment-chain.ts";
import { headerBytes, readHeader, readSegmentName } from "./segment-header.ts";

/** A request that a former process did not see the end of. */
export interface Unfinished {
  /** Its newest UsageRecord, in protobuf's binary form. */
  readonly record: Buffer;
  /** What it had received; undefined: nothing. */
  readonly progress: Progress | undefined;
  /** Where the record is: to be kept until its end is acknowledged. */
  readonly segment: Segment;
}

/** What former processes left in a journal's folder. */
export interface Former {
  /** Oldest first; the first one has something that is to be shipped. */
  readonly segments: readonly Segment[];
  readonly unfinished: readonly Unfinished[];
  /** The UsageRecords of those that ended last, of what is still there: who was to hear of them may not have. */
  readonly endedLast: readonly Buffer[];
  /** By kind, oldest first. */
  readonly notes: ReadonlyMap<number, readonly Buffer[]>;
  /** The highest number that a segment has. */
  readonly numberMax: number;
}

/** Where what can't be read is put, in the journal's folder. */
const deadFolder = "dead";
/** More than end at a node in the time that a call takes. */
const endedLastMax = 1_000;

/**
 * Reads a folder of segments. Torn ends are told and dropped; damaged records, and whole segments of another version, are
 * put aside in `dead/` and told; all else counts. The oldest are removed if they have nothing to ship.
 */
export async function readFormer(folder: string, trouble: (trouble: JournalTrouble) => void): Promise<Former> {
  const reader = new FormerReader(folder, trouble);
  for (const name of (await readdir(folder)).sort()) await reader.read(name);
  return reader.finish();
}

/** A request of a former process, as far as it was read. */
interface Found {
  record: Buffer | undefined;
  progress: Progress | undefined;
  segment: Segment;
}

class FormerReader {
  readonly #folder: string;
  readonly #trouble: (trouble: JournalTrouble) => void;
  readonly #segments: Segment[] = [];
  /** By run and handle: those without a final so far. */
  readonly #running = new Map<string, Found>();
  readonly #notes = new Map<number, Buffer[]>();
  #ended: Buffer[] = [];
  #numberMax = 0;

  constructor(folder: string, trouble: (trouble: JournalTrouble) => void) {
    this.#folder = folder;
    this.#trouble = trouble;
  }

  async read(name: string): Promise<void> {
    const named = readSegmentName(name);
    if (named === undefined) return;
    this.#numberMax = Math.max(this.#numberMax, named.number);
    const path = join(this.#folder, name);
    const bytes = await this.#bytesOf(path, name);
    if (bytes === undefined) return;
    const read = readHeader(bytes);
    if (read.kind === "version") {
      this.#trouble({ what: "version", file: path, bytes: bytes.length });
      return this.#putAside(path, (dead) => rename(path, join(dead, name)));
    }
    if (read.kind === "damaged" && bytes.some((byte) => byte !== 0)) {
      this.#trouble({ what: "damaged", file: path, bytes: headerBytes });
    }
    const header = { createdMs: 0, ...(read.kind === "header" ? read.header : {}), ...named };
    const segment = new Segment(header, path, bytes.length);
    this.#segments.push(segment);
    for (const found of readRecords(bytes, headerBytes)) {
      if (isRecord(found)) this.#take(segment, found.type, found.payload);
      else await this.#damaged(name, bytes.subarray(found.from, found.until), found.from, found.torn);
    }
    segment.readBack = segment.finals > 0;
    segment.unacknowledged = segment.finals;
  }

  async #bytesOf(path: string, name: string): Promise<Buffer | undefined> {
    try {
      return await readFile(path);
    } catch (error) {
      this.#trouble({ what: "damaged", file: path, error });
      await this.#putAside(path, (dead) => rename(path, join(dead, name)));
      return undefined;
    }
  }

  async finish(): Promise<Former> {
    const unfinished: Unfinished[] = [];
    for (const { record, progress, segment } of this.#running.values()) {
      if (record) unfinished.push({ record, progress, segment });
    }
    const needed = new Set(unfinished.map(({ segment }) => segment));
    const kept = [...this.#segments];
    // From the oldest on, and no other: what is told of a request in one may go on in a later one.
    for (let oldest = kept[0]; oldest !== undefined; oldest = kept[0]) {
      if (oldest.finals > 0 || oldest.noted !== 0 || needed.has(oldest)) break;
      kept.shift();
      await rm(oldest.path, { force: true });
    }
    // Copies: the segments' other bytes need not stay in memory.
    const endedLast = this.#ended.slice(-endedLastMax).map((record) => Buffer.from(record));
    return { segments: kept, unfinished, endedLast, notes: this.#notes, numberMax: this.#numberMax };
  }

  #take(segment: Segment, type: RecordType, payload: Buffer): void {
    if (type === RecordType.NOTE) return this.#note(segment, payload);
    if (type === RecordType.PROGRESS) {
      const progress = readProgress(payload);
      if (progress) this.#progress(segment, progress);
      return;
    }
    if (payload.length <= handleBytes) return;
    const key = keyOf(segment, payload.readUInt32LE(0));
    if (type === RecordType.FINAL) {
      segment.finals += 1;
      this.#running.delete(key);
      this.#ended.push(payload.subarray(handleBytes));
      if (this.#ended.length >= 2 * endedLastMax) this.#ended = this.#ended.slice(-endedLastMax);
      return;
    }
    // A copy: the segment's other bytes need not stay in memory.
    const record = Buffer.from(payload.subarray(handleBytes));
    const known = this.#running.get(key);
    this.#running.set(key, { record, progress: known?.progress, segment });
  }

  #progress(segment: Segment, progress: Progress): void {
    const known = this.#running.get(keyOf(segment, progress.handle));
    if (known && progress.sequence >= (known.progress?.sequence ?? 0)) known.progress = progress;
  }

  #note(segment: Segment, payload: Buffer): void {
    const [kind = 0] = payload;
    segment.noted |= 1 << kind;
    const notes = this.#notes.get(kind) ?? [];
    this.#notes.set(kind, notes);
    notes.push(Buffer.from(payload.subarray(1)));
  }

  /** A write that its process did not live to end was told to nobody; anything else is a loss. Both are kept. */
  async #damaged(name: string, bytes: Buffer, at: number, torn: boolean): Promise<void> {
    const path = join(this.#folder, name);
    this.#trouble({ what: torn ? "torn" : "damaged", file: path, bytes: bytes.length });
    const aside = `${name}.${at}${torn ? ".torn" : ""}`;
    await this.#putAside(path, (dead) => writeFile(join(dead, aside), bytes, { mode: 0o600 }));
  }

  /** A disk without room for it, say, keeps nobody from starting. */
  async #putAside(path: string, put: (dead: string) => Promise<void>): Promise<void> {
    const dead = join(this.#folder, deadFolder);
    try {
      await mkdir(dead, { recursive: true, mode: 0o700 });
      await put(dead);
    } catch (error) {
      this.#trouble({ what: "write_failed", file: path, error });
    }
  }
}

function keyOf(segment: Segment, handle: number): string {
  return `${segment.header.run} ${handle}`;
}
