import { clone, fromBinary, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { CountSource } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import {
  EndReason,
  TokenCountsSchema,
  type UsageRecord,
  UsageRecordSchema,
  UsageState,
} from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Progress } from "../journal/progress.ts";

/**
 * The end of a request whose process died: as far as its journal tells. The same journal tells the same each time.
 *
 * @param record its newest snapshot. Throws if that is no UsageRecord.
 */
export function lostRecord(record: Uint8Array, progress: Progress | undefined): Uint8Array {
  const message = fromBinary(UsageRecordSchema, record);
  // What is older than the snapshot belongs to a try that was lost before.
  if (progress && BigInt(progress.sequence) > message.sequence) takeProgress(message, progress);
  const last = message.attempts.at(-1);
  if (last && last.duration === undefined && message.tokens) last.tokens = clone(TokenCountsSchema, message.tokens);
  message.state = UsageState.FINAL;
  message.sequence += 1n;
  message.endReason = EndReason.LOST;
  return toBinary(UsageRecordSchema, message);
}

function takeProgress(message: UsageRecord, progress: Progress): void {
  message.sequence = BigInt(progress.sequence);
  message.duration = durationFromMs(progress.elapsedMs);
  if (progress.firstTokenMs !== undefined) message.timeToFirstToken = durationFromMs(progress.firstTokenMs);
  const { tokens } = message;
  if (tokens === undefined) return;
  tokens.completionTokens = BigInt(progress.completionTokens);
  tokens.reasoningTokens = BigInt(Math.min(progress.reasoningTokens, progress.completionTokens));
  tokens.completionSource = progress.estimated ? CountSource.ESTIMATED : CountSource.COUNTED;
}
