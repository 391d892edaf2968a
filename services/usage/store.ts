import type { SetAside } from "./intake.ts";
import type { ListPlan, SumPlan, SumRow } from "./query.ts";
import type { RecordRow } from "./record.ts";
import type { WholeStep } from "./steps.ts";

/*
 * What every method promises: it fails with STORE_UNAVAILABLE when the store cannot answer, and with INTERNAL when it
 * answers with nonsense; no other error leaves. Times are milliseconds since the epoch. What was stored when a method
 * returned outlives the store's process.
 */

/** Up to when a node has told everything. */
export interface NodeWord {
  readonly nodeId: string;
  readonly heardMs: number;
  readonly completeMs: number;
}

/** Whose usage is asked for. */
export type Owner = { readonly projectId: string } | { readonly orgId: string };

/** Takes records. */
export interface RecordStore {
  /**
   * Keeps rows, one an id and in the order of their ids, all or none. A row that does not replace the one that is kept
   * changes nothing; sums change by the difference.
   */
  record(rows: readonly RecordRow[]): Promise<void>;
  /** Keeps what cannot be counted, each record once. Returns those that were not there before. */
  setAside(nodeId: string, records: readonly SetAside[], nowMs: number): Promise<readonly SetAside[]>;
  /** Keeps what nodes said last; an earlier word changes nothing. */
  hear(words: readonly NodeWord[]): Promise<void>;
}

/** Reports. */
export interface ReportStore {
  /** Sums by step and group, in their order, at most `limit` of them. */
  sums(plan: SumPlan, limit: number): Promise<readonly SumRow[]>;
  /** Newest first, at most `limit`. */
  list(plan: ListPlan, limit: number): Promise<readonly RecordRow[]>;
  /** Start and end, rounded outwards to whole steps of a time zone's calendar. */
  wholeSteps(startMs: number, endMs: number, step: WholeStep, timeZone: string): Promise<readonly [number, number]>;
  /**
   * Until when all requests of an owner have ended and are counted, by the words of those nodes that were heard since
   * `sinceMs`; undefined if there are none.
   */
  completeUntil(owner: Owner, sinceMs: number): Promise<number | undefined>;
}

/** What was done to keep house. */
export interface Kept {
  /** Partitions' months. */
  readonly made: readonly string[];
  /** Requests that were taken for lost. */
  readonly lost: number;
}

/** Keeps house. */
export interface HouseStore {
  /** The time by the store's own clock. */
  nowMs(): Promise<number>;
  /**
   * Makes partitions ahead of time, ends requests of which nothing was heard since `lostBeforeMs`, and forgets nodes and
   * what was set aside once they are older than `retentionMs`.
   */
  keep(times: { readonly nowMs: number; readonly retentionMs: number; readonly lostBeforeMs: number }): Promise<Kept>;
  /**
   * Drops the partitions that hold nothing younger than a time, and returns their months. It fails while somebody reads
   * for long, as a dump does.
   */
  drop(beforeMs: number): Promise<readonly string[]>;
}

/** All of it. */
export interface UsageStore extends RecordStore, ReportStore, HouseStore {}
