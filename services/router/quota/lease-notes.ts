import type { LeaseReport } from "../../../gen/ts/weir/quota/v1/lease_pb.ts";
import type { Waiter } from "../journal/journal.ts";
import { type HeldLease, lastReport } from "./held-lease.ts";

/** The kind of these notes in the journal. */
export const leaseNoteKind = 1;

/** What of the journal notes need. */
export interface NoteJournal {
  wait(waiter: Waiter): void;
  /** Appends a note. False: there is no room. */
  note(note: Uint8Array): boolean;
  /** No note matters any more. */
  over(): void;
}

const fixedBytes = 16;

/**
 * Notes in the journal what is spent of leases, so that a node that died can tell it when it comes back: once a turn of
 * the event loop, with the write that is made anyway. A note is what is spent and reserved together (8 bytes, as a
 * double), what of that is reserved (the same), and the ids of the holder and the lease with a space between. The newest
 * of a lease counts.
 */
export class LeaseNotes implements Waiter {
  readonly #journal: NoteJournal;
  readonly #holderId: string;
  readonly #leases: () => Iterable<HeldLease>;
  readonly #noted = new WeakMap<HeldLease, number>();
  #former: Map<string, Buffer>;
  #waiting = false;

  /** @param former what the processes before this one had noted, the oldest first. */
  constructor(journal: NoteJournal, holderId: string, leases: () => Iterable<HeldLease>, former: readonly Buffer[]) {
    this.#journal = journal;
    this.#holderId = holderId;
    this.#leases = leases;
    this.#former = new Map(former.map((note) => [note.toString("latin1", fixedBytes), note]));
  }

  /** Something was drawn or settled. */
  touch(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#journal.wait(this);
  }

  append(): void {
    for (const lease of this.#leases()) {
      const gone = lease.spent + lease.reserved;
      if (this.#noted.get(lease) !== gone && this.#journal.note(this.#noteOf(lease))) this.#noted.set(lease, gone);
    }
  }

  flushed(): void {
    this.#waiting = false;
  }

  /** The notes' segment goes: those that still matter are noted again. */
  repeat(): void {
    for (const note of this.#former.values()) this.#journal.note(note);
    for (const lease of this.#leases()) this.#journal.note(this.#noteOf(lease));
  }

  /**
   * What processes that are dead had spent of their leases, for the store: what was reserved when they died counts as
   * spent, and the rest is given back. At most 1,000 reports of one holder; undefined: all is told.
   */
  former(): FormerReports | undefined {
    let holderId: string | undefined;
    const reports: LeaseReport[] = [];
    for (const [ids, note] of this.#former) {
      const [holder, leaseId] = ids.split(" ");
      const gone = note.length > fixedBytes ? Math.round(note.readDoubleLE(0)) : Number.NaN;
      if (!holder || !leaseId || !(gone >= 0 && gone <= 1e15)) {
        this.#former.delete(ids);
        continue;
      }
      holderId ??= holder;
      if (holder === holderId && reports.length < reportsMax) reports.push(lastReport(leaseId, BigInt(gone)));
    }
    return holderId === undefined ? undefined : { holderId, reports };
  }

  /** The store has heard these. */
  told({ holderId, reports }: FormerReports): void {
    for (const { leaseId } of reports) this.#former.delete(`${holderId} ${leaseId}`);
  }

  /** The store has heard of every lease of this process, and no more will be drawn. */
  over(): void {
    if (this.#former.size === 0) this.#journal.over();
  }

  #noteOf(lease: HeldLease): Uint8Array {
    const ids = `${this.#holderId} ${lease.id}`;
    const note = Buffer.alloc(fixedBytes + ids.length);
    note.writeDoubleLE(lease.spent + lease.reserved, 0);
    note.writeDoubleLE(lease.reserved, 8);
    note.write(ids, fixedBytes, "latin1");
    return note;
  }
}

/** What a process that died had spent. */
export interface FormerReports {
  readonly holderId: string;
  readonly reports: readonly LeaseReport[];
}

/** The contract takes as many in a call. */
const reportsMax = 1_000;
