import { fromBinary } from "@bufbuild/protobuf";
import { type UsageRecord, UsageRecordSchema } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Waiter } from "../../services/router/journal/journal.ts";
import { handleBytes } from "../../services/router/journal/outbox.ts";
import { type Progress, readProgress, writeProgress } from "../../services/router/journal/progress.ts";
import { Segment } from "../../services/router/journal/segment.ts";
import type { RequestUsage } from "../../services/router/usage/request-usage.ts";
import type { RequestJournal } from "../../services/router/usage/usage-journal.ts";
import { Roster } from "../../services/runtime/roster.ts";

/** Where a payload begins: anywhere but at the buffer's begin, which nobody may count on. */
const payloadAt = 100;

/**
 * A journal without a disk. It reads what is written into it, writes at once unless it is told to hold, and has room
 * unless it is told otherwise.
 */
export class MemoryJournal implements RequestJournal {
  hasRoom = true;
  /** Nothing is written until {@link flush}. */
  holds = false;
  readonly running = new Roster<RequestUsage>();
  readonly buffer = Buffer.alloc(262_144);
  /** In the order in which they were written. */
  readonly snapshots: UsageRecord[] = [];
  readonly progresses: Progress[] = [];
  readonly finals: UsageRecord[] = [];
  readonly #segment = new Segment({ number: 1, run: "memory", createdMs: 0 }, "", 0);
  #waiters: Waiter[] = [];
  #flushing = false;

  begin(): number {
    return payloadAt;
  }

  snapshot(running: RequestUsage, payloadEnd: number): boolean {
    if (!this.hasRoom) return false;
    running.home = this.#segment;
    this.snapshots.push(this.#record(payloadEnd));
    return true;
  }

  progress(running: RequestUsage): void {
    const end = writeProgress(this.buffer, payloadAt, running);
    const read = readProgress(this.buffer.subarray(payloadAt, end));
    if (read) this.progresses.push(read);
  }

  final(running: RequestUsage, _recordAt: number, payloadEnd: number): void {
    this.running.delete(running);
    this.finals.push(this.#record(payloadEnd));
  }

  wait(waiter: Waiter): void {
    this.#waiters.push(waiter);
    if (!this.holds) this.flush();
  }

  /** Writes what is held, and what comes of that. */
  flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    while (this.#waiters.length > 0) {
      const waiters = this.#waiters;
      this.#waiters = [];
      for (const waiter of waiters) waiter.append();
      for (const waiter of waiters) waiter.flushed();
      if (this.holds) break;
    }
    this.#flushing = false;
  }

  #record(payloadEnd: number): UsageRecord {
    return fromBinary(UsageRecordSchema, this.buffer.subarray(payloadAt + handleBytes, payloadEnd));
  }
}
