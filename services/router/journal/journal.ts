import type { FileLock } from "../../runtime/file-lock.ts";
import { Roster, type Rostered } from "../../runtime/roster.ts";
import { frameBytes, RecordType } from "./format.ts";
import { Outbox } from "./outbox.ts";
import { type Progress, progressBytes, writeProgress } from "./progress.ts";
import { RecordWriter } from "./record-writer.ts";
import { Segment } from "./segment.ts";
import { type ChainOptions, SegmentChain } from "./segment-chain.ts";

/** Something that waits for what it has appended to be written. */
export interface Waiter {
  /** The write is about to happen: what is to go with it is appended now. */
  append(): void;
  /** It has happened. */
  flushed(): void;
}

/** A running request, as the journal knows it. Its fields are the journal's to set. */
export interface Running extends Progress, Rostered {
  /** Where its newest snapshot is; undefined: there is none. */
  home: Segment | undefined;
  /** Room that is kept for it: its final record, and a progress. */
  reservedBytes: number;
  /** Where its newest progress is. */
  progressIn: Segment | undefined;
  progressAt: number;
  /** Appends its snapshot again: the segment that it was in goes. */
  carry(): void;
}

/** Notes of one kind. */
export interface Notes {
  /** Appends one. False: there is no room. */
  readonly add: (note: Uint8Array) => boolean;
  /** None matters any more: the next process need not find them. */
  readonly over: () => void;
}

export interface JournalOptions extends ChainOptions {
  /** Runs a function when the event loop has gone through what is due now. */
  readonly schedule: (run: () => void) => void;
}

/** A request is begun if this much is left: for a snapshot and a final record with the longest of names. */
const requestBytes = 32_768;
/** Lost where the next record does not fit into a segment's end, and left for those that are carried along. */
const slackBytes = 16_384;
/** What a final record has beyond the snapshot: counts, times, and an attempt more. */
const finalGrowthBytes = 512;
const progressSize = progressBytes + frameBytes;

/**
 * What a process notes on disk before it acts on it. Records are gathered, and written at the end of the event loop's turn
 * with one call to the system; whoever waits for that is told, in order. There is no fsync: what is written outlives
 * the process.
 *
 * A running request has a snapshot, and progress. Its final record holds all that is to be told of it: it is shipped
 * from here, and the segment with it stays until it is acknowledged. Segments go from the oldest on; running requests
 * whose snapshot is in one that goes are carried along.
 *
 * Without room no request is to be begun. What runs then has its room kept: for its final record, and for a progress that
 * is written over and over in its place. If the disk fails altogether, finals are shipped from memory.
 */
export class Journal<R extends Running = Running> implements AsyncDisposable {
  readonly outbox: Outbox;
  /** Requests that were begun and have no final so far. */
  readonly running = new Roster<R>();
  /** Called when there is a final to ship. */
  onFinal: () => void = () => undefined;
  readonly #chain: SegmentChain;
  readonly #writer: RecordWriter;
  readonly #schedule: JournalOptions["schedule"];
  readonly #lock: FileLock;
  readonly #loose: Segment;
  readonly #repeats = new Map<number, () => void>();
  #reservedBytes = 0;
  #waiters: Waiter[] = [];
  #waitersBefore: Waiter[] = [];
  #scheduled = false;

  /** @param former segments of former processes, oldest first; `numberMax` the highest number that any ever had. */
  constructor(options: JournalOptions, lock: FileLock, former: readonly Segment[], numberMax: number) {
    const { run, clock, trouble, schedule } = options;
    this.#lock = lock;
    this.#schedule = schedule;
    this.#chain = new SegmentChain(options, former, numberMax);
    this.#loose = new Segment({ number: 0, run, createdMs: clock.nowMs() }, "", 0);
    this.outbox = new Outbox(this.#chain.segments, this.#loose, (segment, records) =>
      trouble({ what: "damaged", file: segment.path, records }),
    );
    this.#writer = new RecordWriter(this.#chain, (segment, records) => this.outbox.rescue(segment, records));
  }

  /** Makes the first segments. On a disk without room it goes on without. */
  start(): Promise<void> {
    return this.#chain.start();
  }

  /** Whether a request may be begun. */
  get hasRoom(): boolean {
    return this.#chain.hasRoom && this.#freeBytes >= requestBytes;
  }

  /** Of all segments, in bytes. */
  get bytes(): number {
    return this.#chain.bytes;
  }

  /** When the oldest segment was made, on the wall clock; undefined: there is none with anything to ship. */
  get oldestMs(): number | undefined {
    return this.#chain.segments.find(({ unacknowledged }) => unacknowledged > 0)?.header.createdMs;
  }

  /** Where payloads are written. */
  get buffer(): Buffer {
    return this.#writer.buffer;
  }

  /** Begins a record. Returns where its payload goes in {@link buffer}. */
  begin(): number {
    return this.#writer.begin();
  }

  /** Ends a record as the snapshot of a running request. False: there is no room for it. */
  snapshot(running: R, payloadEnd: number, carried = false): boolean {
    const size = this.#writer.sizeOf(payloadEnd);
    const reserve = size + finalGrowthBytes + progressSize;
    const needed = size + Math.max(0, reserve - running.reservedBytes) + (carried ? 0 : slackBytes);
    if (this.#freeBytes < needed) return false;
    const segment = this.#commit(RecordType.SNAPSHOT, payloadEnd);
    if (segment === undefined) return false;
    this.#leave(running);
    running.home = segment;
    // A progress before its snapshot would say nothing to those who read this: the next one goes behind.
    running.progressIn = undefined;
    segment.running += 1;
    running.reservedBytes = reserve;
    this.#reservedBytes += reserve;
    return true;
  }

  /** Tells what a running request has received. */
  progress(running: R): void {
    const end = writeProgress(this.buffer, this.begin(), running);
    const scarce = this.#freeBytes < progressSize + slackBytes;
    if (scarce && running.progressIn !== undefined && running.progressIn === this.#chain.active)
      return this.#writer.overwrite(RecordType.PROGRESS, end, running.progressIn, running.progressAt);
    const segment = this.#commit(RecordType.PROGRESS, end);
    if (segment === undefined) return;
    running.progressIn = segment;
    running.progressAt = segment.at - progressSize;
    if (!scarce || running.reservedBytes < progressSize) return;
    running.reservedBytes -= progressSize;
    this.#reservedBytes -= progressSize;
  }

  /**
   * Ends a record as the final one of a request.
   *
   * @param recordAt where in the buffer its UsageRecord begins, behind the handle.
   */
  final(running: R, recordAt: number, payloadEnd: number): void {
    const fits = this.#freeBytes + running.reservedBytes >= this.#writer.sizeOf(payloadEnd);
    const record = this.outbox.copied(this.buffer, recordAt, payloadEnd);
    this.#leave(running);
    this.running.delete(running);
    this.outbox.add(fits ? this.#commit(RecordType.FINAL, payloadEnd) : undefined, record);
    this.onFinal();
  }

  /**
   * Keeps notes of one kind (1 to 31) for somebody else. They are replayed at the next start.
   *
   * @param repeat the segment with some of the notes goes: what still matters is to be noted again.
   */
  notes(kind: number, repeat: () => void): Notes {
    this.#repeats.set(kind, repeat);
    return {
      add: (note) => {
        if (this.#freeBytes < note.length + 1 + frameBytes + slackBytes) return false;
        const at = this.begin();
        this.buffer[at] = kind;
        this.buffer.set(note, at + 1);
        const segment = this.#commit(RecordType.NOTE, at + 1 + note.length);
        if (segment) segment.noted |= 1 << kind;
        return segment !== undefined;
      },
      over: () => {
        for (const segment of this.#chain.segments) segment.noted &= ~(1 << kind);
      },
    };
  }

  /** Lets somebody wait for the next write, and add to it. */
  wait(waiter: Waiter): void {
    this.#waiters.push(waiter);
    this.#later();
  }

  /** Writes what was gathered, and tells those who wait for it. */
  readonly flush = (): void => {
    this.#scheduled = false;
    const waiters = this.#waiters;
    this.#waiters = this.#waitersBefore;
    this.#waitersBefore = waiters;
    for (const waiter of waiters) waiter.append();
    this.#writer.write();
    for (const waiter of waiters) waiter.flushed();
    waiters.length = 0;
  };

  /** Reads finals of a segment that are not in memory, for the outbox. */
  read(segment: Segment): Promise<void> {
    this.#writer.write();
    return this.outbox.read(segment);
  }

  /** The ledger has acknowledged finals. */
  acknowledged(segments: ReadonlyMap<Segment, number>): void {
    for (const [segment, finals] of segments) segment.unacknowledged -= finals;
    this.#chain.reclaim((segment) => this.#carry(segment));
  }

  /** Writes what was gathered, lets go of the folder, and removes segments that say nothing more. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#scheduled) this.flush();
    this.acknowledged(new Map());
    await this.#chain.close();
    this.#lock.release();
  }

  /** What may be written without taking what is kept for those who run. */
  get #freeBytes(): number {
    return this.#chain.free - this.#reservedBytes;
  }

  #commit(type: RecordType, payloadEnd: number): Segment | undefined {
    this.#later();
    return this.#writer.commit(type, payloadEnd);
  }

  #later(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(this.flush);
  }

  #leave(running: R): void {
    if (running.home === undefined) return;
    running.home.running -= 1;
    running.home = undefined;
    this.#reservedBytes -= running.reservedBytes;
    running.reservedBytes = 0;
  }

  /** Appends again what is still needed of a segment. False: there is no room for it so far. */
  #carry(segment: Segment): boolean {
    if (segment.running === 0 && segment.noted === 0) return true;
    for (const running of this.running) if (running.home === segment) running.carry();
    for (const [kind, repeat] of this.#repeats) if (segment.noted & (1 << kind)) repeat();
    segment.noted = 0;
    this.#writer.write();
    return segment.running === 0;
  }
}
