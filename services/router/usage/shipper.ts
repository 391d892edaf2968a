import type { QuarantinedRecord } from "../../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { type Clock, sleep, type Timer } from "../../runtime/clock.ts";
import type { Batch, Outbox } from "../journal/outbox.ts";
import type { Segment } from "../journal/segment.ts";
import type { RequestUsage } from "./request-usage.ts";
import { WireWriter } from "./wire-writer.ts";

/** What the shipper says of its work. */
export interface ShipperNews {
  /** The ledger does not answer, or answers again. */
  away(error: unknown): void;
  back(): void;
  /** A segment of the journal can't be read: what is behind it is shipped first, and it is tried again. */
  unreadable(segment: Segment, error: unknown): void;
  /** The ledger can't keep a record: it is set aside there, and counts nowhere. */
  setAside(record: QuarantinedRecord): void;
}

export interface ShipperOptions {
  readonly clock: Clock;
  /** From 0 to 1. */
  readonly chance: () => number;
  readonly journal: {
    readonly outbox: Pick<Outbox, "take" | "unacknowledged">;
    readonly running: Iterable<RequestUsage> & { readonly size: number };
    read(segment: Segment): Promise<void>;
    acknowledged(segments: ReadonlyMap<Segment, number>): void;
  };
  /**
   * Stores records.
   *
   * @param completeUntilMs all that was admitted before is told once these are stored, on the wall clock.
   */
  readonly send: (records: Uint8Array[], completeUntilMs: number) => Promise<readonly QuarantinedRecord[]>;
  readonly news: ShipperNews;
}

/** The contract's bound. */
const recordsMax = 1_000;
/** Of one message: far below what a listener takes. */
const batchBytesMax = 1024 * 1024;
/** As many as the ledger works on at a time. */
const inFlightMax = 4;
/** Finals wait this long for others: a batch costs as much as its first hundred records do. */
const gatherMs = 200;
/** The first wait after a failure; each further one is twice as long. */
const retryMinMs = 100;
/** The ledger is found again within this. */
const retryMaxMs = 5_000;
/** A segment that could not be read is tried again after this. */
const readAgainMs = 5_000;
/** A `complete_until` that promises nothing: the order of what the ledger gets is to tell it nothing, either. */
const nothingMs = 1;
/** Requests that run longer than this are told of before they end. */
const reportAfterMs = 1_000;
/** How often they are told of. */
const reportEveryMs = 5_000;
/** So long after the last batch the ledger is told that there is no more. */
const quietMs = 1_000;
/** How often it is told that again: sums are complete up to a minute ago while nothing happens. */
const quietEveryMs = 60_000;
/** How long a stop waits for the ledger. What is left then is shipped at the next start. */
const drainMs = 5_000;
const reportBytes = 65_536;
/** In place of the sequence that the ledger was told last. */
const notHeard = -1;

/**
 * Brings finals from the journal to the ledger, oldest first, and tells of requests that run long.
 *
 * - **idle**: nothing is to be shipped. Soon after the last batch, and every minute, the ledger is told so.
 * - **gathering**: the first final came; a moment later all that came is sent, in batches, several at a time.
 * - **away**: a batch failed, or its outcome is not known. It is sent again, alone, after a wait that grows; all others
 *   stay in the journal. When one comes through the rest follows.
 *
 * A segment of which memory was short, and whose file can't be read, is passed over: it is read again every few seconds.
 *
 * A batch is acknowledged as a whole or sent again as a whole: the ledger counts a record once.
 */
export class Shipper implements AsyncDisposable {
  readonly #options: ShipperOptions;
  readonly #failed: Batch[] = [];
  /** Batches that are not acknowledged: in flight, or failed. */
  readonly #out = new Set<Batch>();
  /** Made when all that was to be told was in these batches: it holds when they are acknowledged. */
  #promise: { readonly untilMs: number; readonly batches: Set<Batch> } | undefined;
  /** The promise that held last. */
  #completeMs = nothingMs;
  readonly #sending = new Set<Promise<void>>();
  /** Sends what is there when it fires. */
  #due: Timer | undefined;
  #tick: Timer | undefined;
  /** Tells that there is nothing to ship when it fires. */
  #word: Timer | undefined;
  #failures = 0;
  #reading = false;
  /** Segments that could not be read when that was tried last, and those of them that wait for the next try. */
  readonly #unreadable = new Set<Segment>();
  readonly #putOff = new Set<Segment>();
  #readAgain: Timer | undefined;
  /** More is there than may be in flight. */
  #more = false;
  #draining = false;
  readonly #writer = new WireWriter(Buffer.allocUnsafe(reportBytes));

  constructor(options: ShipperOptions) {
    this.#options = options;
  }

  /** There is a final to ship. */
  readonly wake = (): void => {
    this.#due ??= this.#options.clock.setTimer(gatherMs, this.#fire);
  };

  /** A request runs. */
  readonly watch = (): void => {
    this.#tick ??= this.#options.clock.setTimer(reportAfterMs, this.#look);
  };

  /** The last try to ship anything failed. */
  get away(): boolean {
    return this.#failures > 0;
  }

  /** Ships what is there, as long as that is possible within a few seconds. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { clock, journal } = this.#options;
    this.#draining = true;
    this.#tick?.cancel();
    this.#word?.cancel();
    this.#putOff.clear();
    const patience = new AbortController();
    const limit = sleep(clock, drainMs, patience.signal);
    let expired = false;
    void limit.then((passed) => (expired = passed));
    while (journal.outbox.unacknowledged > 0 && !expired) {
      this.#due?.cancel();
      this.#due = undefined;
      this.#pump();
      if (this.#sending.size > 0) await Promise.race([limit, ...this.#sending]);
      else await Promise.race([limit, sleep(clock, retryMinMs, patience.signal)]);
    }
    this.#due?.cancel();
    this.#due = undefined;
    this.#readAgain?.cancel();
    patience.abort();
  }

  readonly #fire = (): void => {
    this.#due = undefined;
    this.#pump();
    this.#speakLater(quietMs);
  };

  #pump(): void {
    this.#more = false;
    for (;;) {
      if (this.#reading) return;
      if (this.#sending.size >= (this.#failures > 0 ? 1 : inFlightMax)) break;
      const batch = this.#failed.shift() ?? this.#next();
      if (batch === undefined) return;
      this.#run(this.#ship(batch));
    }
    this.#more = true;
  }

  #next(): Batch | undefined {
    const { outbox } = this.#options.journal;
    const taken = outbox.take(recordsMax, batchBytesMax, this.#putOff);
    if (taken === undefined || "records" in taken) return taken;
    this.#reading = true;
    this.#run(this.#read(taken));
    return undefined;
  }

  #run(work: Promise<void>): void {
    const done = work.finally(() => {
      this.#sending.delete(done);
      if (this.#failures > 0) this.#retryLater();
      else if (this.#more) this.#pump();
    });
    this.#sending.add(done);
  }

  async #read(segment: Segment): Promise<void> {
    try {
      await this.#options.journal.read(segment);
      this.#unreadable.delete(segment);
    } catch (error) {
      if (!this.#unreadable.has(segment)) this.#options.news.unreadable(segment, error);
      this.#unreadable.add(segment);
      this.#putOff.add(segment);
      this.#readAgain ??= this.#options.clock.setTimer(readAgainMs, this.#readThem);
    }
    this.#reading = false;
    this.#more = true;
  }

  readonly #readThem = (): void => {
    this.#readAgain = undefined;
    this.#putOff.clear();
    // A ledger that is away is asked when its own wait is over.
    if (this.#failures === 0) this.#pump();
  };

  async #ship(batch: Batch): Promise<void> {
    const { send, news, journal } = this.#options;
    this.#out.add(batch);
    this.#promiseAll();
    const isAll = this.#promise?.batches.size === 1 && this.#promise.batches.has(batch);
    try {
      const setAside = await send(batch.records, isAll && this.#promise ? this.#promise.untilMs : this.#completeMs);
      for (const record of setAside) news.setAside(record);
      this.#cameThrough();
      this.#stored(batch);
      journal.acknowledged(batch.segments);
      this.#speakLater(quietMs);
    } catch (error) {
      this.#failed.push(batch);
      this.#wentWrong(error);
    }
  }

  /** If all that is to be told is on its way, all that was admitted before the oldest of those who still run is. */
  #promiseAll(): void {
    if (this.#promise !== undefined) return;
    let records = 0;
    for (const batch of this.#out) records += batch.records.length;
    if (records !== this.#options.journal.outbox.unacknowledged) return;
    this.#promise = { untilMs: this.#oldestMs(), batches: new Set(this.#out) };
  }

  #stored(batch: Batch): void {
    this.#out.delete(batch);
    this.#promise?.batches.delete(batch);
    if (this.#promise?.batches.size !== 0) return;
    this.#completeMs = this.#promise.untilMs;
    this.#promise = undefined;
  }

  /** The admission of the oldest that runs; now, if none does. */
  #oldestMs(): number {
    const { journal, clock } = this.#options;
    let oldestMs = clock.nowMs();
    for (const { admitMs } of journal.running) oldestMs = Math.min(oldestMs, admitMs);
    return oldestMs;
  }

  #speakLater(delayMs: number): void {
    if (this.#draining) return;
    this.#word?.cancel();
    this.#word = this.#options.clock.setTimer(delayMs, this.#speak);
  }

  /** Without it a node that is idle would hold back what the ledger calls complete. */
  readonly #speak = (): void => {
    this.#speakLater(quietEveryMs);
    if (this.#failures > 0 || this.#sending.size > 0) return;
    const { journal, send } = this.#options;
    if (journal.outbox.unacknowledged > 0) return;
    // One that is lost is made good by the next.
    void send([], this.#oldestMs()).catch(() => undefined);
  };

  #wentWrong(error: unknown): void {
    if (this.#failures === 0) this.#options.news.away(error);
    this.#failures += 1;
  }

  #cameThrough(): void {
    if (this.#failures > 0) {
      this.#options.news.back();
      this.#more = true;
      // What is in flight then came through, too, or fails by itself.
      this.#due?.cancel();
      this.#due = undefined;
    }
    this.#failures = 0;
  }

  #retryLater(): void {
    if (this.#draining || this.#sending.size > 0) return;
    const { clock, chance } = this.#options;
    const most = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(16, this.#failures - 1));
    this.#due?.cancel();
    this.#due = clock.setTimer(most * (0.5 + chance() / 2), this.#fire);
  }

  readonly #look = (): void => {
    this.#tick = undefined;
    const { running } = this.#options.journal;
    if (running.size === 0 || this.#draining) return;
    this.watch();
    if (this.#failures > 0 || this.#more) return;
    const reports = this.#reports(running);
    for (let at = 0; at < reports.length; at += recordsMax) this.#run(this.#report(reports.slice(at, at + recordsMax)));
  };

  async #report(reports: readonly Report[]): Promise<void> {
    const records = reports.map(({ record }) => record);
    try {
      await this.#options.send(records, this.#completeMs);
      this.#cameThrough();
    } catch {
      // It is told again, also if nothing changes until then.
      for (const { usage } of reports) usage.reportedSequence = notHeard;
    }
  }

  #reports(running: Iterable<RequestUsage>): Report[] {
    const nowMs = this.#options.clock.monotonicMs();
    const reports: Report[] = [];
    const writer = this.#writer;
    for (const usage of running) {
      if (nowMs - usage.startMs < reportAfterMs || usage.sequence === usage.reportedSequence) continue;
      if (usage.reportedSequence !== 0 && nowMs - usage.reportedMs < reportEveryMs) continue;
      writer.at = 0;
      usage.report(writer);
      usage.reportedSequence = usage.sequence;
      usage.reportedMs = nowMs;
      reports.push({ usage, record: Buffer.from(writer.buffer.subarray(0, writer.at)) });
    }
    return reports;
  }
}

/** What is told of a request that runs. */
interface Report {
  readonly usage: RequestUsage;
  readonly record: Uint8Array;
}
