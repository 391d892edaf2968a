import type { Kysely } from "kysely";
import { type Clock, sleep } from "../runtime/clock.ts";
import { isCheckViolation, isConflict } from "../runtime/postgres/sqlstate.ts";
import { monthsFrom } from "./partitions.ts";
import type { RecordRow } from "./record.ts";
import { msOfRequestId } from "./request-id.ts";
import type { UsageStore } from "./store.ts";
import { answered } from "./store-postgres-answer.ts";
import { completeUntil, hear } from "./store-postgres-complete.ts";
import { keepHouse, storeNow } from "./store-postgres-house.ts";
import { list } from "./store-postgres-list.ts";
import { dropPartitions, makePartitions, monthsThere } from "./store-postgres-partitions.ts";
import { setAside } from "./store-postgres-quarantine.ts";
import { keepRecords } from "./store-postgres-record.ts";
import { sums, wholeSteps } from "./store-postgres-sums.ts";

export interface PostgresUsageOptions {
  /** Where reports are asked for. Default: where records are kept. */
  readonly reports?: Kysely<unknown>;
  readonly clock: Clock;
  /** From 0 up to but not including 1: spreads retries. */
  readonly chance: () => number;
}

/** Senders that share records rarely meet twice in a row. */
const triesMax = 6;
/** About as long as a batch takes; doubled for each try. */
const retryAfterMs = 20;

/** The store in PostgreSQL, in a database that has the migrations of this service. */
export function postgresUsageStore<T>(db: Kysely<T>, options: PostgresUsageOptions): UsageStore {
  const { clock, chance } = options;
  const base = db.withoutPlugins() as Kysely<unknown>;
  const reports = options.reports ?? base;
  /** Months whose partitions were there when last looked. */
  let known: ReadonlySet<string> = new Set();

  const look = async () => {
    known = new Set((await monthsThere(base)).map(({ name }) => name));
  };

  /** A month of long ago has a partition once there is something in it. */
  const makeRoom = async (rows: readonly RecordRow[]) => {
    const times = rows.map(({ requestId }) => msOfRequestId(requestId));
    const first = times[0];
    const last = times.at(-1);
    if (first === undefined || last === undefined) return;
    const missing = monthsFrom(first, last).filter(
      (month) => !known.has(month.name) && times.some((ms) => ms >= month.startMs && ms < month.endMs),
    );
    if (missing.length === 0) return;
    await makePartitions(base, missing);
    await look();
  };

  const keep = async (rows: readonly RecordRow[]) => {
    for (let tries = 1; ; tries++) {
      try {
        await makeRoom(rows);
        return await keepRecords(base, rows);
      } catch (error) {
        if (tries === triesMax || !(isConflict(error) || isCheckViolation(error))) throw error;
        // Another process dropped a partition: look again.
        if (isCheckViolation(error)) known = new Set();
        await sleep(clock, retryAfterMs * 2 ** tries * chance());
      }
    }
  };

  return {
    record: (rows) => answered(rows.length === 0 ? Promise.resolve() : keep(rows)),
    setAside: (nodeId, records, nowMs) => answered(setAside(base, nodeId, records, nowMs)),
    hear: (words) => answered(hear(base, words)),
    sums: (plan, limit) => answered(sums(reports, plan, limit)),
    list: (plan, limit) => answered(list(reports, plan, limit)),
    wholeSteps: (startMs, endMs, step, zone) => answered(wholeSteps(reports, [startMs, endMs], step, zone)),
    completeUntil: (owner, sinceMs) => answered(completeUntil(reports, owner, sinceMs)),
    nowMs: () => answered(storeNow(base)),
    keep: (times) => answered(keepHouse(base, times)),
    drop: (beforeMs) => answered(dropPartitions(base, beforeMs)),
  };
}
