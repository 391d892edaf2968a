import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import {
  EndReason,
  type UsageRecord,
  UsageRecordSchema,
  UsageState,
} from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";

/** What a test says of a record; what it does not say is that of an ordinary request. */
export type RecordInit = Exclude<MessageInitShape<typeof UsageRecordSchema>, UsageRecord>;

/** The end of an ordinary request, or what a test makes of it. */
export function usageRecord(requestId: string, admitMs: number, over: RecordInit = {}): UsageRecord {
  const tokens = {
    promptTokens: 120n,
    completionTokens: 64n,
    promptSource: CountSource.ENGINE,
    completionSource: CountSource.ENGINE,
  };
  const ordinary: RecordInit = {
    requestId,
    state: UsageState.FINAL,
    sequence: 2n,
    orgId: "acme",
    projectId: "acme-one",
    keyId: "abcdefghijkl",
    userId: "ada",
    requestedModel: "chat",
    model: "weir-sim",
    replicaId: "weir-sim-0",
    operation: "generate",
    admitTime: timestampFromMs(admitMs),
    timeToFirstToken: durationFromMs(53),
    duration: durationFromMs(1_053),
    queueTime: durationFromMs(2),
    tokens,
    endReason: EndReason.COMPLETED,
    attempts: [
      { replicaId: "weir-sim-0", dispatchTime: timestampFromMs(admitMs + 2), duration: durationFromMs(1_050), tokens },
    ],
  };
  return create(UsageRecordSchema, { ...ordinary, ...over });
}

/** A record while it runs: what its end alone tells is not set. */
export function runningRecord(requestId: string, admitMs: number, over: RecordInit = {}): UsageRecord {
  const running: RecordInit = { state: UsageState.INTENT, sequence: 1n, endReason: EndReason.UNSPECIFIED };
  const record = usageRecord(requestId, admitMs, { ...running, ...over });
  delete record.duration;
  return record;
}

/** A record as journals hold it. */
export function bytesOf(record: UsageRecord): Uint8Array<ArrayBuffer> {
  return toBinary(UsageRecordSchema, record);
}
