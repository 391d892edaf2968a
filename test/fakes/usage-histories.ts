import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource } from "../../gen/ts/weir/router/v1/event_pb.ts";
import {
  EndReason,
  type UsageRecord,
  UsageRecordSchema,
  UsageState,
} from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import type { SeededRandom } from "./seeded-random.ts";
import { usageRecord } from "./usage-records.ts";

/** Everything that is ever said of some requests, in the order in which it came to be. */
export interface History {
  readonly words: readonly UsageRecord[];
}

export interface HistoryOptions {
  readonly random: SeededRandom;
  readonly requests: number;
  /** Requests are admitted from then on, within `lengthMs`. */
  readonly startMs: number;
  readonly lengthMs: number;
  /** How far a node's clock is off, at most. */
  readonly clockErrorMs?: number;
}

/** Makes up requests and what is said of them: they fail over, are estimated, die with their node, come back. */
export function makeHistory(options: HistoryOptions): History {
  const { random, requests, startMs, lengthMs, clockErrorMs = 0 } = options;
  const words: UsageRecord[] = [];
  for (let made = 0; made < requests; made++) {
    const error = clockErrorMs === 0 ? 0 : random.below(2 * clockErrorMs) - clockErrorMs;
    const admitMs = startMs + random.below(lengthMs) + error;
    words.push(...lifeOf(random, admitMs));
  }
  return { words };
}

/** A naive ledger's opinion: of all words on a request the real end, else the last checkpoint, progress or intent. */
export function truthOf(words: Iterable<UsageRecord>): Map<string, UsageRecord> {
  const byId = new Map<string, UsageRecord[]>();
  for (const word of words) byId.set(word.requestId, [...(byId.get(word.requestId) ?? []), word]);
  const truth = new Map<string, UsageRecord>();
  for (const [id, told] of byId) {
    const ranks: ((word: UsageRecord) => boolean)[] = [
      (word) => word.state === UsageState.FINAL && !word.checkpoint,
      (word) => word.state === UsageState.FINAL,
      (word) => word.state === UsageState.PROGRESS,
      () => true,
    ];
    const best = ranks.map((rank) => told.filter(rank)).find((found) => found.length > 0) ?? [];
    const last = best.reduce((a, b) => (b.sequence > a.sequence ? b : a));
    truth.set(id, last);
  }
  return truth;
}

/** Sums by series and quarter of an hour, as a naive ledger makes them: from all records, every time. */
export function sumsOf(records: Iterable<UsageRecord>): Map<string, Record<string, bigint>> {
  const sums = new Map<string, Record<string, bigint>>();
  for (const record of records) {
    const admitMs = record.admitTime ? timestampMs(record.admitTime) : 0;
    const slot = new Date(Math.floor(admitMs / 900_000) * 900_000).toISOString();
    const { orgId, projectId, keyId, userId, requestedModel, model, operation } = record;
    const key = [slot, orgId, projectId, keyId, userId, requestedModel, model, operation].join(" ");
    const tokens = record.tokens;
    if (tokens === undefined) throw new Error("a record has tokens");
    const estimatedPrompt = tokens.promptSource === CountSource.ESTIMATED ? tokens.promptTokens : 0n;
    const estimatedCompletion = tokens.completionSource === CountSource.ESTIMATED ? tokens.completionTokens : 0n;
    const failed = record.endReason === EndReason.FAILED || record.endReason === EndReason.LOST;
    const more = {
      requests: 1n,
      failed_requests: failed ? 1n : 0n,
      prompt_tokens: tokens.promptTokens,
      completion_tokens: tokens.completionTokens,
      cached_tokens: tokens.cachedTokens,
      reasoning_tokens: tokens.reasoningTokens,
      estimated_tokens: estimatedPrompt + estimatedCompletion,
      unpriced_requests: 1n,
    };
    const sum = sums.get(key) ?? {};
    for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0n) + count;
    sums.set(key, sum);
  }
  return sums;
}

const models = ["weir-sim", "qwen-72b", 'mod"el {with},\\odd "name"', "模型"] as const;

function lifeOf(random: SeededRandom, admitMs: number): UsageRecord[] {
  const ids = createIdSource({
    clock: { nowMs: () => admitMs - random.below(50), monotonicMs: () => 0, setTimer: () => ({ cancel() {} }) },
    randomBytes: (length) => Uint8Array.from({ length }, () => random.below(256)),
  });
  const project = random.pick(["acme-one", "acme-two", "umbrella-one"]);
  const owner = {
    orgId: project.startsWith("acme") ? "acme" : "umbrella",
    projectId: project,
    keyId: `key${random.below(3)}`,
    userId: random.pick(["", "ada", "bob"]),
    requestedModel: random.pick(["chat", "weir-sim"]),
  };
  const requestId = ids.uuidv7();
  const words: UsageRecord[] = [];
  let sequence = 1n;
  let tokens = countsOf(random, 0);
  let attempts = [attemptOf(admitMs, tokens, false)];
  let model: string = random.pick(models);
  const say = (over: Parameters<typeof usageRecord>[2]) => {
    const word = usageRecord(requestId, admitMs, { ...owner, model, tokens, sequence, attempts, ...over });
    words.push(create(UsageRecordSchema, word));
    sequence += 1n;
  };
  say({ state: UsageState.INTENT, endReason: EndReason.UNSPECIFIED });
  for (let step = random.below(4); step > 0; step--) {
    if (random.below(4) === 0) {
      attempts = [...attempts.slice(0, -1), attemptOf(admitMs, tokens, true), attemptOf(admitMs + step, tokens, false)];
      model = random.pick(models);
    }
    tokens = countsOf(random, Number(tokens.completionTokens));
    say({ state: UsageState.PROGRESS, endReason: EndReason.UNSPECIFIED });
  }
  const fate = random.below(10);
  if (fate === 0) return words;
  if (fate <= 3) {
    for (let times = 1 + random.below(2); times > 0; times--)
      say({ state: UsageState.FINAL, endReason: EndReason.LOST, checkpoint: true });
    if (fate === 1) return words;
  }
  tokens = countsOf(random, Number(tokens.completionTokens));
  attempts = [...attempts.slice(0, -1), attemptOf(admitMs, tokens, false)];
  const endReason = random.pick([EndReason.COMPLETED, EndReason.COMPLETED, EndReason.CANCELLED, EndReason.FAILED]);
  const errorReason = endReason === EndReason.FAILED ? ErrorReason.ENGINE_TRUNCATED : ErrorReason.UNSPECIFIED;
  say({ state: UsageState.FINAL, endReason, errorReason });
  return words;
}

function countsOf(random: SeededRandom, completion: number) {
  const promptTokens = BigInt(random.below(5_000));
  const completionTokens = BigInt(completion + random.below(100));
  return {
    promptTokens,
    completionTokens,
    cachedTokens: promptTokens / 2n,
    reasoningTokens: completionTokens / 3n,
    promptSource: random.pick([CountSource.ENGINE, CountSource.COUNTED, CountSource.ESTIMATED]),
    completionSource: random.pick([CountSource.ENGINE, CountSource.COUNTED, CountSource.ESTIMATED]),
  };
}

function attemptOf(dispatchMs: number, tokens: ReturnType<typeof countsOf>, failed: boolean) {
  return {
    replicaId: failed ? "weir-sim-1" : "weir-sim-0",
    dispatchTime: timestampFromMs(dispatchMs),
    duration: durationFromMs(1_050),
    tokens,
    errorReason: failed ? ErrorReason.ENGINE_TRUNCATED : ErrorReason.UNSPECIFIED,
  };
}
