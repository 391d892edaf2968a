import { decodeRecord } from "./decode.ts";
import { foldBatch } from "./fold.ts";
import { keptFromMs } from "./partitions.ts";
import type { RecordRow } from "./record.ts";
import { type IdWindow, type Problem, problemOf } from "./record-rules.ts";
import type { SeriesIndex } from "./series.ts";

/** A record that cannot be kept. */
export interface SetAside extends Problem {
  /** Its place in the batch. */
  readonly index: number;
  /** Empty if it can't be read. */
  readonly requestId: string;
  /** As it came. */
  readonly bytes: Uint8Array;
}

/** A batch, sorted out. */
export interface Intake {
  /** One an id, in the order of their ids. */
  readonly rows: readonly RecordRow[];
  readonly setAside: readonly SetAside[];
}

/** Clocks of nodes are wrong by hours at times, and by days when they were never set. */
const aheadMaxMs = 86_400_000;

/**
 * Which ids are taken at a time. What lies ahead of the ledger's time alone is taken, too: that may be the one that is
 * behind, and what is set aside counts nowhere.
 *
 * @param ownMs the time by the process's own clock.
 */
export function idWindow(nowMs: number, retentionMs: number, ownMs: number): IdWindow {
  return { fromMs: keptFromMs(nowMs, retentionMs), untilMs: Math.max(nowMs, ownMs) + aheadMaxMs };
}

/** Reads, judges and folds the records of a batch. */
export function sortOut(records: readonly Uint8Array[], window: IdWindow, series: SeriesIndex): Intake {
  const rows: RecordRow[] = [];
  const setAside: SetAside[] = [];
  // One buffer for all: Node's faster readers are a Buffer's, and to make one a record costs more than copying it.
  const all = Buffer.concat(records);
  let end = 0;
  for (const [index, bytes] of records.entries()) {
    const start = end;
    end += bytes.length;
    const decoded = decodeRecord(all, start, end, series);
    if (decoded.kind === "malformed") {
      const { requestId, problem } = decoded;
      setAside.push({ index, requestId, reason: "malformed", problem, bytes });
      continue;
    }
    const problem = problemOf(decoded.row, window);
    if (problem === undefined) rows.push(decoded.row);
    else setAside.push({ ...problem, index, requestId: decoded.row.requestId, bytes });
  }
  return { rows: foldBatch(rows), setAside };
}
