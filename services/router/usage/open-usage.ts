import type { Logger } from "pino";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type UsageRecord, UsageRecordSchema } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { UsageService } from "../../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { systemChance, systemIds } from "../../runtime/ids.ts";
import { withCallOptions } from "../../runtime/mesh/call-options.ts";
import type { Runtime } from "../../runtime/role.ts";
import type { Unfinished } from "../journal/former.ts";
import type { Journal } from "../journal/journal.ts";
import { openJournal } from "../journal/open.ts";
import type { JournalTrouble } from "../journal/segment-chain.ts";
import { lostRecord } from "./lost.ts";
import type { RequestUsage } from "./request-usage.ts";
import { Shipper, type ShipperOptions } from "./shipper.ts";
import { UsageJournal } from "./usage-journal.ts";

/** The journal of this process at work: requests write into it, and what they used is shipped. */
export interface OpenedUsage extends AsyncDisposable {
  readonly usage: UsageJournal;
  readonly journal: Journal<RequestUsage>;
  /** What others noted in the process before this one, by kind. */
  readonly notes: ReadonlyMap<number, readonly Buffer[]>;
  /**
   * The requests that the process before this one did not see the end of, with the end that they were given, and those that
   * ended last: what they used it may not have told to their limits.
   */
  readonly formerRequests: readonly UsageRecord[];
}

/** Small enough to be made in a moment and to go soon, large enough for thousands of requests. */
const segmentBytesMax = 4 * 1024 * 1024;
/** A small journal has as many at least: what fills up goes piece by piece. */
const segmentsMin = 8;
const runLength = 12;
/** A batch whose outcome is not known after this is sent again. */
const sendTimeoutMs = 10_000;

/**
 * Opens the journal in the folder that the settings name, makes an end of the requests that a process before this one
 * did not see the end of, and ships.
 *
 * Disposing it writes what is gathered, ships for a few seconds more, and lets go of the folder.
 */
export async function openUsage(runtime: Runtime, log: Logger): Promise<OpenedUsage> {
  const { clock, metrics, settings } = runtime;
  const { journalDir, journalBytesMax } = settings.usage;
  let damaged = 0;
  const { journal, former } = await openJournal<RequestUsage>({
    folder: journalDir,
    bytesMax: journalBytesMax,
    segmentBytes: Math.min(segmentBytesMax, Math.floor(journalBytesMax / segmentsMin)),
    clock,
    run: systemIds.short(runLength),
    schedule: (run) => void setImmediate(run),
    trouble(trouble) {
      if (trouble.what === "damaged" || trouble.what === "version") damaged += 1;
      tell(log, trouble);
    },
  });
  const lost = endLost(journal, former.unfinished, log);
  const toShip = journal.outbox.unacknowledged;
  if (toShip > 0) log.info({ records: toShip, lost: lost.length }, "usage that was not shipped before is shipped now");
  const usage = new UsageJournal(journal, clock);
  const shipper = new Shipper({ clock, chance: systemChance, journal, send: sender(runtime), news: newsFor(log) });
  journal.onFinal = shipper.wake;
  usage.onBegin = shipper.watch;
  shipper.wake();
  metrics.journal(() => ({
    bytes: journal.bytes,
    unshipped: journal.outbox.unacknowledged,
    oldestAgeMs: journal.oldestMs === undefined ? 0 : Math.max(0, clock.nowMs() - journal.oldestMs),
    hasRoom: journal.hasRoom,
    refused: usage.refused,
    damaged,
  }));
  return {
    usage,
    journal,
    notes: former.notes,
    formerRequests: [...lost, ...endedLast(former.endedLast)],
    async [Symbol.asyncDispose]() {
      journal.flush();
      await shipper[Symbol.asyncDispose]();
      await journal[Symbol.asyncDispose]();
    },
  };
}

/** Gives those requests an end, and returns it. */
function endLost(journal: Journal<RequestUsage>, unfinished: readonly Unfinished[], log: Logger): UsageRecord[] {
  const lost: UsageRecord[] = [];
  for (const { record, progress, segment } of unfinished) {
    try {
      const ended = lostRecord(record, progress);
      journal.outbox.addLost(segment, ended);
      lost.push(fromBinary(UsageRecordSchema, ended));
    } catch (err) {
      log.error({ err, file: segment.path }, "a request's journal can't be read: what it used is not known");
    }
  }
  return lost;
}

/** What can't be read is told when it is shipped. */
function endedLast(records: readonly Buffer[]): UsageRecord[] {
  return records.flatMap((record) => {
    try {
      return [fromBinary(UsageRecordSchema, record)];
    } catch {
      // Its checksum holds, so another version wrote it; it says nothing of limits.
      return [];
    }
  });
}

function sender({ mesh, nodeId }: Runtime): ShipperOptions["send"] {
  const ledger = mesh.client(UsageService);
  return async (records, completeUntilMs) => {
    const completeUntil = timestampFromMs(completeUntilMs);
    const options = withCallOptions({ trusted: true, timeoutMs: sendTimeoutMs });
    const { quarantined } = await ledger.recordUsage({ nodeId, records, completeUntil }, options);
    return quarantined;
  };
}

function newsFor(log: Logger): ShipperOptions["news"] {
  return {
    away: (err) => log.warn({ err }, "the ledger can't be reached: usage stays in the journal until it can"),
    back: () => log.info("the ledger is back: usage is shipped"),
    unreadable: ({ path: file }, err) =>
      log.error(
        { err, file },
        "a segment of the usage journal can't be read: it is tried again, what is younger goes first",
      ),
    setAside: ({ requestId, problem }) =>
      log.error({ request_id: requestId, problem }, "the ledger set a usage record aside: it counts nowhere"),
  };
}

function tell(log: Logger, { what, ...facts }: JournalTrouble): void {
  const { error: err, ...rest } = facts;
  const fields = { ...rest, ...(err === undefined ? {} : { err }) };
  switch (what) {
    case "no_room":
      return log.error(fields, "the usage journal has no room: new requests are refused until it has");
    case "write_failed":
      return log.error(fields, "the usage journal can't be written");
    case "damaged":
      return log.error(fields, "the usage journal is damaged: what can't be read is in its folder dead/");
    case "version":
      return log.error(fields, "a usage journal of another version is put aside in its folder dead/");
    case "torn":
      return log.info(fields, "a write of the usage journal was cut short: nobody was told of it");
  }
}
