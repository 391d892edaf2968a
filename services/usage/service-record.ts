import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Logger } from "pino";
import type { RecordUsageRequest, UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import type { Metrics } from "../runtime/telemetry/metrics.ts";
import { type Intake, idWindow, sortOut } from "./intake.ts";
import { createLanes } from "./lanes.ts";
import type { LedgerTime } from "./ledger-time.ts";
import type { NodeWords } from "./node-words.ts";
import type { RecordRow } from "./record.ts";
import { createSeriesIndex } from "./series.ts";
import type { RecordStore } from "./store.ts";
import { unavailable } from "./unavailable.ts";

export interface RecordOptions {
  readonly store: RecordStore;
  readonly words: NodeWords;
  readonly clock: Pick<Clock, "nowMs">;
  readonly time: Pick<LedgerTime, "nowMs">;
  readonly log: Pick<Logger, "error">;
  readonly metrics: Pick<Metrics, "usageSetAside">;
  readonly retentionMs: number;
}

/** Batches that the store is given at once: more would take connections from those who ask. */
const lanes = 4;
/** Batches that wait: what 16 nodes send ahead, 200 KiB each. */
const waitingMax = 128;
/**
 * How long after its admission a request may be told for the first time: it waits for a replica at most a minute by
 * default, and is shipped a second or so after. Only for nodes that do not say `complete_until`.
 */
const toldWithinMs = 120_000;

/** Takes batches of records. */
export function recordUsage(options: RecordOptions): ServiceImplementation<typeof UsageService>["recordUsage"] {
  const { store, clock, time, retentionMs } = options;
  const seriesOf = createSeriesIndex();
  const writing = createLanes({ lanes, waitingMax });
  return async (request, { signal }) => {
    const { nodeId, records } = request;
    const stored = writing.run(async () => {
      const intake = sortOut(records, idWindow(time.nowMs(), retentionMs, clock.nowMs()), seriesOf);
      if (intake.setAside.length > 0) await setAside(options, nodeId, intake);
      await store.record(intake.rows);
      return intake;
    }, signal);
    if (stored === undefined) throw unavailable();
    const intake = await stored;
    tell(options, request, intake.rows);
    return { quarantined: intake.setAside.map(({ index, requestId, problem }) => ({ index, requestId, problem })) };
  };
}

async function setAside({ store, time, log, metrics }: RecordOptions, nodeId: string, intake: Intake): Promise<void> {
  const added = await store.setAside(nodeId, intake.setAside, time.nowMs());
  const [first] = added;
  if (first === undefined) return;
  for (const { reason } of added) metrics.usageSetAside(reason);
  log.error(
    { node_id: nodeId, records: added.length, request_id: first.requestId, problem: first.problem },
    "usage records were set aside: they are in usage.quarantine, and count nowhere",
  );
}

/** What the batch says of what the node still has to tell. */
function tell({ words, time }: RecordOptions, request: RecordUsageRequest, rows: readonly RecordRow[]): void {
  const heardMs = time.nowMs();
  const { nodeId, completeUntil } = request;
  // Journals are shipped in their order: what was admitted long before the youngest record has been told.
  const youngestMs = rows.reduce((latest, { admitMs }) => Math.max(latest, admitMs), 0);
  const completeMs = completeUntil === undefined ? youngestMs - toldWithinMs : timestampMs(completeUntil);
  if (completeMs > 0) words.heard({ nodeId, heardMs, completeMs: Math.min(completeMs, heardMs) });
}
