import { CountSource } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { Counts } from "../../drivers/events.ts";
import type { AttemptFacts, OperationName, UsageFacts } from "./usage-facts.ts";
import { WireWriter } from "./wire-writer.ts";

/** Fields of weir.usage.v1.UsageRecord. */
const record = {
  requestId: 1,
  state: 2,
  sequence: 3,
  orgId: 4,
  projectId: 5,
  keyId: 6,
  requestedModel: 8,
  model: 9,
  replicaId: 10,
  operation: 11,
  admitTime: 12,
  timeToFirstToken: 13,
  duration: 14,
  tokens: 15,
  endReason: 16,
  errorReason: 17,
  attempts: 19,
  queueTime: 21,
};
/** Fields of weir.usage.v1.TokenCounts. */
const tokens = {
  promptTokens: 1,
  completionTokens: 2,
  cachedTokens: 3,
  reasoningTokens: 4,
  promptSource: 5,
  completionSource: 6,
};
/** Fields of weir.usage.v1.Attempt. */
const attempt = { replicaId: 1, dispatchTime: 2, duration: 3, tokens: 4, errorReason: 5 };
/** The contract's bound. */
const attemptsMax = 16;
const identityBytesMax = 4_096;

/** Nothing was received, and nothing is billed: that much is known exactly. */
const nothing: Counts = {
  promptTokens: 0,
  completionTokens: 0,
  promptSource: CountSource.COUNTED,
  completionSource: CountSource.COUNTED,
};

/** The part of a UsageRecord that is the same for all requests of a key for a model. */
export function identityFields(
  principal: Principal,
  requestedModel: string,
  model: string,
  operation: OperationName,
): Buffer {
  const writer = new WireWriter(Buffer.allocUnsafe(identityBytesMax));
  writer.text(record.orgId, principal.orgId);
  writer.text(record.projectId, principal.projectId);
  writer.text(record.keyId, principal.keyId);
  writer.text(record.requestedModel, requestedModel);
  writer.text(record.model, model);
  writer.text(record.operation, operation);
  return Buffer.from(writer.buffer.subarray(0, writer.at));
}

/** Writes a UsageRecord. */
export function writeUsage(writer: WireWriter, facts: UsageFacts): void {
  writer.text(record.requestId, facts.requestId);
  writer.uint(record.state, facts.state);
  writer.uint(record.sequence, facts.sequence);
  writer.fields(facts.identity);
  writer.text(record.replicaId, facts.replicaId);
  writer.milliseconds(record.admitTime, facts.admitMs);
  if (facts.firstTokenMs !== undefined) writer.milliseconds(record.timeToFirstToken, facts.firstTokenMs);
  if (facts.durationMs !== undefined) writer.milliseconds(record.duration, facts.durationMs);
  writeCounts(writer, record.tokens, facts.counts ?? nothing);
  writer.uint(record.endReason, facts.endReason);
  writer.uint(record.errorReason, facts.errorReason);
  const { attempts } = facts;
  for (let i = Math.max(0, attempts.length - attemptsMax); i < attempts.length; i++) {
    const one = attempts[i];
    if (one) writeAttempt(writer, one);
  }
  if (facts.queuedMs > 0) writer.milliseconds(record.queueTime, facts.queuedMs);
}

function writeAttempt(writer: WireWriter, facts: AttemptFacts): void {
  const begun = writer.beginMessage(record.attempts);
  writer.text(attempt.replicaId, facts.replicaId);
  writer.milliseconds(attempt.dispatchTime, facts.dispatchMs);
  if (facts.durationMs !== undefined) writer.milliseconds(attempt.duration, facts.durationMs);
  if (facts.counts) writeCounts(writer, attempt.tokens, facts.counts);
  writer.uint(attempt.errorReason, facts.reason);
  writer.endMessage(begun);
}

function writeCounts(writer: WireWriter, field: number, counts: Counts): void {
  const begun = writer.beginMessage(field);
  writer.uint(tokens.promptTokens, counts.promptTokens);
  writer.uint(tokens.completionTokens, counts.completionTokens);
  writer.uint(tokens.cachedTokens, counts.cachedTokens ?? 0);
  writer.uint(tokens.reasoningTokens, counts.reasoningTokens ?? 0);
  writer.uint(tokens.promptSource, counts.promptSource);
  writer.uint(tokens.completionSource, counts.completionSource);
  writer.endMessage(begun);
}
