import { UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { RecordRow } from "./record.ts";

/*
 * How far a request is, from the first word on it to the last:
 *
 * - intent: it is about to be dispatched. Any later sequence, and every other state, replaces it.
 * - progress: it runs. A higher sequence, or an end, replaces it.
 * - checkpoint: its end as it was rebuilt without the process that ran it. A later one, or the real end, replaces it.
 * - end: nothing replaces it.
 *
 * So of any number of words on a request, in whatever order and however often they come, the same one is kept.
 */

/** How far a request is, as a number to compare: 1 intent, 2 progress, 3 checkpoint, 4 end. */
export type Stage = 1 | 2 | 3 | 4;

/** The stage that nothing replaces. */
export const endStage: Stage = 4;

/** The stage of a record, whose state is known to be one. */
export function stageOf({ state, checkpoint }: Pick<RecordRow, "state" | "checkpoint">): Stage {
  if (state === UsageState.INTENT) return 1;
  if (state === UsageState.PROGRESS) return 2;
  return checkpoint ? 3 : endStage;
}

/** Whether `next` replaces `kept`. The store's own statement decides in the same way. */
function replaces(next: RecordRow, kept: RecordRow): boolean {
  const stage = stageOf(kept);
  if (stage === endStage) return false;
  const nextStage = stageOf(next);
  return nextStage === stage ? next.sequence > kept.sequence : nextStage > stage;
}

/** One row an id, in the order of their ids: that in which every writer takes their locks. */
export function foldBatch(rows: readonly RecordRow[]): RecordRow[] {
  const kept = new Map<string, RecordRow>();
  for (const row of rows) {
    const before = kept.get(row.requestId);
    if (before === undefined || replaces(row, before)) kept.set(row.requestId, row);
  }
  return [...kept.values()].sort((a, b) => (a.requestId < b.requestId ? -1 : 1));
}
