import { type Kysely, sql } from "kysely";
import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { admitSlackMs } from "./record-rules.ts";
import { leastIdAt } from "./request-id.ts";
import type { Kept } from "./store.ts";
import { dropPartitions, makeNeeded } from "./store-postgres-partitions.ts";
import { addToRollups, slotOf, summed } from "./store-postgres-rollups.ts";

/** Rows that one statement ends or removes: it takes some milliseconds, and the next round does the rest. */
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

/** Makes partitions ahead, drops old ones, ends what was lost, and forgets what retention says. */
export async function keepHouse(db: Kysely<unknown>, { nowMs, retentionMs, lostBeforeMs }: HouseTimes): Promise<Kept> {
  const made = await makeNeeded(db, nowMs);
  const beforeMs = nowMs - retentionMs;
  const dropped = await dropPartitions(db, beforeMs);
  const before = new Date(beforeMs);
  await sql`
    delete from usage.quarantine where digest in
      (select digest from usage.quarantine where time < ${before} order by time limit ${rowsMax})`.execute(db);
  await sql`delete from usage.nodes where heard_time < ${before}`.execute(db);
  return { made, dropped, lost: await endLost(db, lostBeforeMs) };
}

/**
 * Ends requests that were admitted before a time and are still said to run: whoever ran them is gone, and so is its
 * journal. They end as checkpoints: should the journal come back after all, what it says holds.
 */
async function endLost(db: Kysely<unknown>, beforeMs: number): Promise<number> {
  const { rows } = await sql<{ lost: number }>`
    with found as (
      select request_id from usage.records
      where stage < 3 and request_id < ${leastIdAt(beforeMs - admitSlackMs)}
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
