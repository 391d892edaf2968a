import type { Clock, Timer } from "../../runtime/clock.ts";
import { createSegment, type Segment } from "./segment.ts";

/** What an operator should know of the journal. */
export interface JournalTrouble {
  readonly what: "no_room" | "write_failed" | "damaged" | "torn" | "version";
  readonly error?: unknown;
  readonly file?: string;
  readonly bytes?: number;
  readonly records?: number;
}

export interface ChainOptions {
  readonly folder: string;
  /** Of all segments together. */
  readonly bytesMax: number;
  /** Length of a segment. */
  readonly segmentBytes: number;
  readonly clock: Clock;
  /** This process's own name, 12 characters of [0-9a-z]. */
  readonly run: string;
  readonly trouble: (trouble: JournalTrouble) => void;
}

function isNeeded({ unacknowledged, running, noted }: Segment): boolean {
  return unacknowledged > 0 || running > 0 || noted !== 0;
}

/** How long until the disk is asked again for room. */
const retryMs = 1_000;

/**
 * The segments of a journal, from the oldest to the *active* one, which is written to. The *spare*, made ahead, takes its
 * place when it is full or can't be written. While no spare can be made, because the disk is full or the segments
 * together have the length that they may have, that is told once and tried again: every second, and whenever a segment
 * was removed.
 */
export class SegmentChain {
  readonly segments: Segment[];
  /** Undefined: there is none on disk. */
  active: Segment | undefined;
  /** A spare can be had, as far as is known. */
  hasRoom = true;
  readonly #options: ChainOptions;
  #spare: Segment | undefined;
  #number: number;
  #preparing: Promise<void> | undefined;
  #retry: Timer | undefined;
  #closed = false;
  readonly #removals = new Set<Promise<void>>();

  /** @param former segments of former processes, oldest first; `numberMax` the highest number that was ever given. */
  constructor(options: ChainOptions, former: readonly Segment[], numberMax: number) {
    this.#options = options;
    this.segments = [...former];
    this.#number = numberMax;
  }

  /** Makes the first two segments; on a disk without room there are none for now. */
  async start(): Promise<void> {
    await this.#prepare();
    await this.#preparing;
  }

  /** Bytes that records may fill until another spare is made. */
  get free(): number {
    return (this.active?.room ?? 0) + (this.#spare?.room ?? 0);
  }

  /** Of all segments, in bytes. */
  get bytes(): number {
    return this.segments.reduce((sum, { bytes }) => sum + bytes, this.#spare?.bytes ?? 0);
  }

  /** The spare becomes the active one. Undefined: there is none, and the active one stays. */
  advance(): Segment | undefined {
    const spare = this.#spare;
    if (spare === undefined) return undefined;
    this.#spare = undefined;
    this.#replaceActive(spare);
    void this.#prepare();
    return spare;
  }

  /** The active one can't be written: the spare takes its place, if there is one, and room is in doubt. */
  abandonActive(error: unknown): Segment | undefined {
    this.#options.trouble({ what: "write_failed", error, file: this.active?.path ?? "" });
    this.hasRoom = false;
    this.#later();
    const spare = this.#spare;
    this.#spare = undefined;
    this.#replaceActive(spare);
    return spare;
  }

  /**
   * Removes segments that nobody needs any more, from the oldest on.
   *
   * @param carry moves what is still needed out of a segment whose finals are all acknowledged; false: it can't now.
   */
  reclaim(carry: (segment: Segment) => boolean): void {
    for (;;) {
      const [oldest] = this.segments;
      if (oldest === undefined || oldest === this.active || oldest.unacknowledged > 0) break;
      if (!carry(oldest)) break;
      this.segments.shift();
      this.#keep(oldest.remove());
    }
    if (this.#spare === undefined) void this.#prepare();
  }

  /** Closes the files. The active segment is removed if nothing in it is needed, and so is the spare. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await this.#preparing;
    const { active } = this;
    const needed = this.segments.length > 1 || (active !== undefined && isNeeded(active));
    if (active) this.#keep(needed ? active.close() : active.remove());
    if (this.#spare) this.#keep(this.#spare.remove());
    await Promise.all(this.#removals);
  }

  /** Nothing more is written into the former one: what it holds is read by its name. */
  #replaceActive(segment: Segment | undefined): void {
    if (this.active) this.#keep(this.active.close());
    this.active = segment;
    if (segment) this.segments.push(segment);
  }

  /** Makes the spare. If there is no active segment it becomes that, and another one is made. */
  #prepare(): Promise<void> {
    if (this.#preparing || this.#spare || this.#closed) return this.#preparing ?? Promise.resolve();
    const { folder, bytesMax, segmentBytes, run, clock } = this.#options;
    if (this.bytes + segmentBytes > bytesMax) {
      this.#noRoom(undefined);
      return Promise.resolve();
    }
    this.#number += 1;
    const header = { number: this.#number, run, createdMs: clock.nowMs() };
    this.#preparing = createSegment(folder, header, segmentBytes).then(
      (segment) => {
        this.#preparing = undefined;
        this.hasRoom = true;
        this.#spare = segment;
        if (this.active === undefined) this.advance();
      },
      (error: unknown) => {
        this.#preparing = undefined;
        this.#noRoom(error);
        this.#later();
      },
    );
    return this.#preparing;
  }

  #noRoom(error: unknown): void {
    if (this.hasRoom) this.#options.trouble({ what: "no_room", error, file: this.#options.folder });
    this.hasRoom = false;
  }

  #later(): void {
    if (this.#closed) return;
    this.#retry ??= this.#options.clock.setTimer(retryMs, () => {
      this.#retry = undefined;
      void this.#prepare();
    });
  }

  #keep(removal: Promise<void>): void {
    const done = removal
      // A file that stays is read, and removed, at the next start.
      .catch((error: unknown) => this.#options.trouble({ what: "write_failed", error }))
      .finally(() => this.#removals.delete(done));
    this.#removals.add(done);
  }
}
