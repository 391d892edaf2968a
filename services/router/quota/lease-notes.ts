import type { LeaseReport } from "../../../gen/ts/weir/quota/v1/lease_pb.ts";
import type { Waiter } from "../journal/journal.ts";
import type { HeldLease } from "./held-lease.ts";

/** The kind of these notes in the journal. */
export const leaseNoteKind = 1;

/** What of the journal notes need. */
export interface NoteJournal {
  wait(waiter: Waiter): void;
  /** Appends a note. False: there is no room. */
  note(note: Uint8Array): boolean;
}

/** A number that no process reaches: the report of what a dead one spent is newer than all of its own. */
const lastSequence = 2n ** 53n;
const fixedBytes = 16;

/**
 * Notes in the journal what is spent of leases, so that a node that died can tell it when it comes back: once a turn of
 * the event loop, with the write that is made anyway. A note is what is spent and reserved together (8 bytes, as a
 * double), what of that is reserved (the same), and the lease's id. The newest of a lease counts.
 */
export class LeaseNotes implements Waiter {
  readonly #journal: NoteJournal;
  readonly #leases: () => Iterable<HeldLease>;
  readonly #noted = new WeakMap<HeldLease, number>();
  #waiting = false;

  constructor(journal: NoteJournal, leases: () => Iterable<HeldLease>) {
    this.#journal = journal;
    this.#leases = leases;
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
      if (this.#noted.get(lease) !== gone && this.#journal.note(noteOf(lease))) this.#noted.set(lease, gone);
    }
  }

  flushed(): void {
    this.#waiting = false;
  }

  /** The notes' segment goes: those that still matter are noted again. */
  repeat(): void {
    for (const lease of this.#leases()) this.#journal.note(noteOf(lease));
  }
}

function noteOf(lease: HeldLease): Uint8Array {
  const note = Buffer.alloc(fixedBytes + lease.id.length);
  note.writeDoubleLE(lease.spent + lease.reserved, 0);
  note.writeDoubleLE(lease.reserved, 8);
  note.write(lease.id, fixedBytes, "latin1");
  return note;
}

/**
 * What a dead process had spent of its leases, for the store: what was reserved when it died counts as spent, and the
 * rest is given back.
 *
 * @param slots leases of concurrent requests, of which nothing runs any more.
 */
export function reportsFrom(notes: readonly Buffer[]): LeaseReport[] {
  const newest = new Map<string, Buffer>();
  for (const note of notes) {
    if (note.length > fixedBytes) newest.set(note.toString("latin1", fixedBytes), note);
  }
  return [...newest].flatMap(([leaseId, note]) => {
    const gone = Math.round(note.readDoubleLE(0));
    if (!(gone >= 0 && gone <= 1e15)) return [];
    const spent = BigInt(gone);
    return {
      $typeName: "weir.quota.v1.LeaseReport",
      leaseId,
      spent,
      reserved: 0n,
      amount: spent,
      sequence: lastSequence,
    };
  });
}
