import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";

/** What is summed up, by series and slot of time. */
export const summed = [
  "requests",
  "failed_requests",
  "prompt_tokens",
  "completion_tokens",
  "cached_tokens",
  "reasoning_tokens",
  "estimated_tokens",
  "unpriced_requests",
] as const;

/** The slot that a time lies in. Zones are whole quarters of an hour apart, so any zone's days are made of whole slots. */
export function slotOf(time: string): string {
  return `date_bin('15 minutes', ${time}, timestamptz '2000-01-01 00:00:00Z')`;
}

/** 1 for an end that counts as a failure, else 0. */
export function failed(endReason: string): string {
  return `(${endReason} in (${EndReason.FAILED}, ${EndReason.LOST}))::int`;
}

/**
 * Adds a table of differences to the sums. Its columns are series_id, slot_time and what is summed. Locks are taken in
 * the order of the key.
 */
export function addToRollups(difference: string): string {
  return `insert into usage.rollups as kept (series_id, slot_time, ${summed.join(", ")})
select series_id, slot_time, ${summed.map((name) => `sum(${name})`).join(", ")}
from ${difference} group by series_id, slot_time order by series_id, slot_time
on conflict (series_id, slot_time) do update set ${summed.map((name) => `${name} = kept.${name} + excluded.${name}`).join(", ")}`;
}
