import type { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { EndReason, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { AttemptRow, Counts, RecordRow } from "./record.ts";
import type { SeriesIndex } from "./series.ts";
import { WireReader } from "./wire-reader.ts";

/** A record's bytes as a row. What cannot be read as one is told, with the request if that much can be read. */
export type Decoded =
  | { readonly kind: "read"; readonly row: RecordRow }
  | { readonly kind: "malformed"; readonly requestId: string; readonly problem: string };

/** What no field of a message says. */
const nothingCounted: Counts = {
  promptTokens: 0,
  completionTokens: 0,
  cachedTokens: 0,
  reasoningTokens: 0,
  promptSource: 0,
  completionSource: 0,
};

// A field's tag is its number, three bits up, and its wire type: 0 a varint, 2 with a length. A field that comes with
// another type than the contract's is passed over, as every reader of protobuf does.
const varint = 0;
const sized = 2;
const tagOf = (field: number, type: number) => field * 8 + type;

/**
 * Reads the UsageRecord that lies from `start` up to and not including `end`. The values are those of the bytes, times cut to the millisecond: whether they make sense
 * `problemOf` judges; only texts that nobody could keep are refused here.
 */
export function decodeRecord(bytes: Buffer, start: number, end: number, seriesOf: SeriesIndex): Decoded {
  const reader = new WireReader(bytes, start, end);
  const draft = new RecordDraft();
  while (reader.more) readField(reader, draft);
  const requestId = draft.requestId ?? "";
  if (reader.broken) return { kind: "malformed", requestId, problem: "it is no record in protobuf's binary form" };
  const { replicaId } = draft;
  const series = draft.unreadable ? undefined : seriesOf(draft);
  if (series === undefined || replicaId === undefined || draft.requestId === undefined) {
    return { kind: "malformed", requestId, problem: "one of its names breaks the contract" };
  }
  if (draft.admitMs === undefined) return { kind: "malformed", requestId, problem: "admit_time is not set" };
  if (draft.tokens === undefined) return { kind: "malformed", requestId, problem: "tokens is not set" };
  const { state, sequence, checkpoint, admitMs, firstTokenMs, durationMs, queueMs, tokens } = draft;
  const { endReason, errorReason, attempts } = draft;
  const times = { admitMs, firstTokenMs, durationMs, queueMs };
  return {
    kind: "read",
    row: {
      requestId: requestId.toLowerCase(),
      state,
      sequence,
      checkpoint,
      series,
      replicaId,
      ...times,
      tokens,
      endReason,
      errorReason,
      attempts,
    },
  };
}

/** A record while it is read. */
class RecordDraft {
  requestId: string | undefined = "";
  state: UsageState = 0;
  sequence = 0;
  orgId = "";
  projectId = "";
  keyId = "";
  userId = "";
  requestedModel = "";
  model = "";
  operation = "";
  replicaId: string | undefined = "";
  admitMs: number | undefined = undefined;
  firstTokenMs: number | undefined = undefined;
  durationMs: number | undefined = undefined;
  queueMs: number | undefined = undefined;
  tokens: Counts | undefined = undefined;
  endReason: EndReason = 0;
  errorReason: ErrorReason = 0;
  checkpoint = false;
  attempts: AttemptRow[] = [];
  /** A name is no text. */
  unreadable = false;
}

function readField(reader: WireReader, draft: RecordDraft): void {
  const tag = reader.tag();
  switch (tag) {
    case tagOf(1, sized):
      draft.requestId = reader.text();
      return;
    case tagOf(2, varint):
      draft.state = reader.int32() as UsageState;
      return;
    case tagOf(3, varint):
      draft.sequence = reader.varint();
      return;
    case tagOf(4, sized):
      draft.orgId = name(reader, draft);
      return;
    case tagOf(5, sized):
      draft.projectId = name(reader, draft);
      return;
    case tagOf(6, sized):
      draft.keyId = name(reader, draft);
      return;
    case tagOf(7, sized):
      draft.userId = name(reader, draft);
      return;
    case tagOf(8, sized):
      draft.requestedModel = name(reader, draft);
      return;
    case tagOf(9, sized):
      draft.model = name(reader, draft);
      return;
    case tagOf(10, sized):
      draft.replicaId = reader.text();
      return;
    case tagOf(11, sized):
      draft.operation = name(reader, draft);
      return;
    case tagOf(12, sized):
      draft.admitMs = readMs(reader);
      return;
    case tagOf(13, sized):
      draft.firstTokenMs = readMs(reader);
      return;
    case tagOf(14, sized):
      draft.durationMs = readMs(reader);
      return;
    case tagOf(15, sized):
      draft.tokens = readCounts(reader);
      return;
    case tagOf(16, varint):
      draft.endReason = reader.int32() as EndReason;
      return;
    case tagOf(17, varint):
      draft.errorReason = reader.int32() as ErrorReason;
      return;
    case tagOf(18, varint):
      draft.checkpoint = reader.varint() !== 0;
      return;
    case tagOf(19, sized):
      draft.attempts.push(readAttempt(reader));
      return;
    case tagOf(21, sized):
      draft.queueMs = readMs(reader);
      return;
    default:
      reader.skip(tag);
  }
}

function name(reader: WireReader, draft: RecordDraft): string {
  const text = reader.text();
  if (text === undefined) draft.unreadable = true;
  return text ?? "";
}

/** A Timestamp or a Duration in whole milliseconds; NaN if it is none. */
function readMs(reader: WireReader): number {
  const outer = reader.enter();
  let seconds = 0;
  let nanos = 0;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === tagOf(1, varint)) seconds = reader.varint();
    else if (tag === tagOf(2, varint)) nanos = reader.int32();
    else reader.skip(tag);
  }
  reader.leave(outer);
  if (Math.abs(nanos) > 999_999_999 || seconds * nanos < 0) return Number.NaN;
  return seconds * 1000 + Math.trunc(nanos / 1e6);
}

function readCounts(reader: WireReader): Counts {
  const outer = reader.enter();
  const counts: { -readonly [P in keyof Counts]: Counts[P] } = { ...nothingCounted };
  while (reader.more) {
    const tag = reader.tag();
    if (tag === tagOf(1, varint)) counts.promptTokens = reader.varint();
    else if (tag === tagOf(2, varint)) counts.completionTokens = reader.varint();
    else if (tag === tagOf(3, varint)) counts.cachedTokens = reader.varint();
    else if (tag === tagOf(4, varint)) counts.reasoningTokens = reader.varint();
    else if (tag === tagOf(5, varint)) counts.promptSource = reader.int32() as CountSource;
    else if (tag === tagOf(6, varint)) counts.completionSource = reader.int32() as CountSource;
    else reader.skip(tag);
  }
  reader.leave(outer);
  return counts;
}

function readAttempt(reader: WireReader): AttemptRow {
  const outer = reader.enter();
  let replicaId: string | undefined = "";
  let dispatchMs = Number.NaN;
  let durationMs: number | undefined;
  let tokens = nothingCounted;
  let errorReason: ErrorReason = 0;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === tagOf(1, sized)) replicaId = reader.text();
    else if (tag === tagOf(2, sized)) dispatchMs = readMs(reader);
    else if (tag === tagOf(3, sized)) durationMs = readMs(reader);
    else if (tag === tagOf(4, sized)) tokens = readCounts(reader);
    else if (tag === tagOf(5, varint)) errorReason = reader.int32() as ErrorReason;
    else reader.skip(tag);
  }
  reader.leave(outer);
  // An attempt without a replica is refused by the rules, which is what unreadable text comes to.
  return { replicaId: replicaId ?? "", dispatchMs, durationMs, tokens, errorReason };
}
