import { type Kysely, sql } from "kysely";
import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { admitSlackMs } from "./record-rules.ts";
import { leastIdAt } from "./request-id.ts";
import type { Kept } from "./store.ts";
import { makeNeeded } from "./store-postgres-partitions.ts";
import { addToRollups, slotOf, summed } from "./store-postgres-rollups.ts";

/** Rows that one statement ends or removes: it takes some milliseconds, and nobody waits longer for their locks. */
const rowsMax = 1_000;

export interface HouseTimes {
  readonly nowMs: number;
  readonly retentionMs: number;
  readonly lostBeforeMs: number;
}

/** The server's clock, in milliseconds since the epoch. */
export async function storeNow(db: Kysely<unknown>): Promise<number> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error("the server did not tell its time");
  return row.now.getTime();
}

/** Makes partitions ahead, ends what was lost, and forgets what retention says. */
export async function keepHouse(db: Kysely<unknown>, { nowMs, retentionMs, lostBeforeMs }: HouseTimes): Promise<Kept> {
  const made = await makeNeeded(db, nowMs);
  const lost = await allOf(() => endSome(db, lostBeforeMs));
  const before = new Date(nowMs - retentionMs);
  await allOf(() => forgetSome(db, before));
  await sql`delete from usage.nodes where heard_time < ${before}`.execute(db);
  return { made, lost };
}

/** Does it until there is no more to do, however much a dead node has left. Returns how many rows it was done to. */
async function allOf(some: () => Promise<number>): Promise<number> {
  for (let all = 0; ; ) {
    const done = await some();
    all += done;
    if (done < rowsMax) return all;
  }
}

/** Forgets what was set aside before a time. */
async function forgetSome(db: Kysely<unknown>, before: Date): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    delete from usage.quarantine where digest in
      (select digest from usage.quarantine where time < ${before} order by time limit ${rowsMax})`.execute(db);
  return Number(numAffectedRows);
}

/**
 * Ends requests that were admitted before a time and are still said to run: whoever ran them is gone, and so is its
 * journal. They end as checkpoints: should the journal come back after all, what it says holds.
 */
async function endSome(db: Kysely<unknown>, beforeMs: number): Promise<number> {
  const { rows } = await sql<{ lost: number }>`
    with found as (
      select request_id from usage.records
      where stage < 3 and admit_time < ${new Date(beforeMs)} and request_id < ${leastIdAt(beforeMs + admitSlackMs)}
      order by request_id limit ${rowsMax} for update skip locked
    ), lost as (
      update usage.records kept set stage = 3, end_reason = ${EndReason.LOST}
      from found where kept.request_id = found.request_id and kept.stage < 3
      returning kept.series_id, kept.admit_time
    ), difference as (
      select series_id, ${sql.raw(slotOf("admit_time"))} as slot_time, 1 as failed_requests,
        ${sql.raw(summed.flatMap((name) => (name === "failed_requests" ? [] : [`0 as ${name}`])).join(", "))}
      from lost
    ), added as (${sql.raw(addToRollups("difference"))})
    select count(*)::int as lost from lost`.execute(db);
  return rows[0]?.lost ?? 0;
}
