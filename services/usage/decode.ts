import type { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { EndReason, UsageState } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { AttemptRow, Counts, RecordRow } from "./record.ts";
import type { Named, SeriesIndex } from "./series.ts";
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

// A field's tag is its number, three bits up, and its wire type: 0 a varint, 2 with a length. They are written out, so that
// a switch over them is a jump. A field that comes with another type than the contract's is passed over, as every reader
// of protobuf does.

/**
 * Reads the UsageRecord that lies from `start` up to and not including `end`. The values are those of the bytes, times cut
 * to the millisecond: whether they make sense `problemOf` judges; only texts that nobody could keep are refused here.
 */
export function decodeRecord(bytes: Buffer, start: number, end: number, index: SeriesIndex): Decoded {
  const reader = new WireReader(bytes, start, end);
  const draft = new RecordDraft();
  let named: Named | undefined;
  while (reader.more) {
    const at = reader.at;
    const tag = reader.tag();
    if (tag === firstName && named === undefined) {
      passNames(reader);
      named = index.named(reader.since(at), () => namesIn(bytes, at, reader.at, index));
    } else {
      readField(reader, tag, draft);
    }
  }
  // Names that do not stand together are taken one by one, as any order of fields is allowed.
  if (draft.scattered) named = namesIn(bytes, start, end, index);
  return decodedFrom(draft, named, reader.broken);
}

function decodedFrom(draft: RecordDraft, named: Named | undefined, broken: boolean): Decoded {
  const requestId = draft.requestId ?? "";
  const malformed = (problem: string): Decoded => ({ kind: "malformed", requestId, problem });
  if (broken) return malformed("it is no record in protobuf's binary form");
  if (named === undefined || draft.requestId === undefined) return malformed("one of its names breaks the contract");
  if (draft.admitMs === undefined) return malformed("admit_time is not set");
  if (draft.tokens === undefined) return malformed("tokens is not set");
  const { state, sequence, checkpoint, admitMs, firstTokenMs, durationMs, queueMs, tokens } = draft;
  const { endReason, errorReason, attempts } = draft;
  const { series, replicaId } = named;
  const row = {
    requestId: requestId.toLowerCase(),
    state,
    sequence,
    checkpoint,
    series,
    replicaId,
    admitMs,
    firstTokenMs,
    durationMs,
    queueMs,
    tokens,
    endReason,
    errorReason,
    attempts,
  };
  return { kind: "read", row };
}

/** org_id, which stands first of the names: they are the fields 4 to 11. */
const firstName = (4 << 3) | 2;
const lastName = (11 << 3) | 2;

function isName(tag: number): boolean {
  return tag >= firstName && tag <= lastName && (tag & 7) === 2;
}

/** Passes over the names, as every encoder writes them: one after the other. It is at the first one's value. */
function passNames(reader: WireReader): void {
  reader.skip(firstName);
  while (reader.more) {
    const at = reader.at;
    const tag = reader.tag();
    if (!isName(tag)) return reader.back(at);
    reader.skip(tag);
  }
}

/** What the names in a piece of a record come to; undefined if one of them is not acceptable. */
function namesIn(bytes: Buffer, start: number, end: number, index: SeriesIndex): Named | undefined {
  const reader = new WireReader(bytes, start, end);
  const names = new NamesDraft();
  while (reader.more) readName(reader, reader.tag(), names);
  const series = reader.broken || names.unreadable ? undefined : index.seriesOf(names);
  return series && { series, replicaId: names.replicaId };
}

/** The names of a record while they are read. */
class NamesDraft {
  orgId = "";
  projectId = "";
  keyId = "";
  userId = "";
  requestedModel = "";
  model = "";
  operation = "";
  replicaId = "";
  /** One of them is no text. */
  unreadable = false;
}

function readName(reader: WireReader, tag: number, draft: NamesDraft): void {
  if (!isName(tag)) return reader.skip(tag);
  const text = reader.text();
  if (text === undefined) draft.unreadable = true;
  const field = nameFields[(tag >> 3) - 4];
  if (field !== undefined) draft[field] = text ?? "";
}

/** From field 4 on. */
const nameFields = [
  "orgId",
  "projectId",
  "keyId",
  "userId",
  "requestedModel",
  "model",
  "replicaId",
  "operation",
] as const;

/** A record while it is read. */
class RecordDraft {
  requestId: string | undefined = "";
  state: UsageState = 0;
  sequence = 0;
  admitMs: number | undefined = undefined;
  firstTokenMs: number | undefined = undefined;
  durationMs: number | undefined = undefined;
  queueMs: number | undefined = undefined;
  tokens: Counts | undefined = undefined;
  endReason: EndReason = 0;
  errorReason: ErrorReason = 0;
  checkpoint = false;
  attempts: AttemptRow[] = [];
  /** There is a name that does not stand with the others. */
  scattered = false;
}

function readField(reader: WireReader, tag: number, draft: RecordDraft): void {
  switch (tag) {
    case (1 << 3) | 2:
      draft.requestId = reader.text();
      return;
    case (2 << 3) | 0:
      draft.state = reader.int32() as UsageState;
      return;
    case (3 << 3) | 0:
      draft.sequence = reader.varint();
      return;
    case (12 << 3) | 2:
      draft.admitMs = readMs(reader);
      return;
    case (13 << 3) | 2:
      draft.firstTokenMs = readMs(reader);
      return;
    case (14 << 3) | 2:
      draft.durationMs = readMs(reader);
      return;
    case (15 << 3) | 2:
      draft.tokens = readCounts(reader);
      return;
    case (16 << 3) | 0:
      draft.endReason = reader.int32() as EndReason;
      return;
    case (17 << 3) | 0:
      draft.errorReason = reader.int32() as ErrorReason;
      return;
    case (18 << 3) | 0:
      draft.checkpoint = reader.varint() !== 0;
      return;
    case (19 << 3) | 2:
      draft.attempts.push(readAttempt(reader));
      return;
    case (21 << 3) | 2:
      draft.queueMs = readMs(reader);
      return;
    default:
      if (isName(tag)) draft.scattered = true;
      reader.skip(tag);
  }
}

/** A Timestamp or a Duration in whole milliseconds; NaN if it is none. */
function readMs(reader: WireReader): number {
  const outer = reader.enter();
  let seconds = 0;
  let nanos = 0;
  while (reader.more) {
    const tag = reader.tag();
    if (tag === ((1 << 3) | 0)) seconds = reader.varint();
    else if (tag === ((2 << 3) | 0)) nanos = reader.int32();
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
    if (tag === ((1 << 3) | 0)) counts.promptTokens = reader.varint();
    else if (tag === ((2 << 3) | 0)) counts.completionTokens = reader.varint();
    else if (tag === ((3 << 3) | 0)) counts.cachedTokens = reader.varint();
    else if (tag === ((4 << 3) | 0)) counts.reasoningTokens = reader.varint();
    else if (tag === ((5 << 3) | 0)) counts.promptSource = reader.int32() as CountSource;
    else if (tag === ((6 << 3) | 0)) counts.completionSource = reader.int32() as CountSource;
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
    if (tag === ((1 << 3) | 2)) replicaId = reader.text();
    else if (tag === ((2 << 3) | 2)) dispatchMs = readMs(reader);
    else if (tag === ((3 << 3) | 2)) durationMs = readMs(reader);
    else if (tag === ((4 << 3) | 2)) tokens = readCounts(reader);
    else if (tag === ((5 << 3) | 0)) errorReason = reader.int32() as ErrorReason;
    else reader.skip(tag);
  }
  reader.leave(outer);
  // An attempt without a replica is refused by the rules, which is what unreadable text comes to.
  return { replicaId: replicaId ?? "", dispatchMs, durationMs, tokens, errorReason };
}
