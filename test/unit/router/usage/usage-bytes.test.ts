import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { PrincipalSchema } from "../../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource } from "../../../../gen/ts/weir/router/v1/event_pb.ts";
import { EndReason, UsageRecordSchema, UsageState } from "../../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { endReasonOf } from "../../../../services/router/usage/end-reason.ts";
import { Identities } from "../../../../services/router/usage/identities.ts";
import { lostRecord } from "../../../../services/router/usage/lost.ts";
import { identityFields, writeUsage } from "../../../../services/router/usage/usage-bytes.ts";
import type { UsageFacts } from "../../../../services/router/usage/usage-facts.ts";
import { WireWriter } from "../../../../services/router/usage/wire-writer.ts";

const principal = create(PrincipalSchema, { orgId: "acme", projectId: "acme-one", keyId: "k1" });
const requestId = "01a214ec-f320-7152-bc30-422bfac2761f";
const counts = {
  promptTokens: 1_200,
  completionTokens: 300,
  cachedTokens: 128,
  reasoningTokens: 20,
  promptSource: CountSource.ENGINE,
  completionSource: CountSource.COUNTED,
};

const facts: UsageFacts = {
  requestId,
  state: UsageState.FINAL,
  sequence: 300,
  identity: identityFields(principal, "chat", "weir-sim", "generate"),
  replicaId: "sim-0",
  admitMs: 1_795_647_402_784,
  firstTokenMs: 53.25,
  durationMs: 61_053.5,
  queuedMs: 2_000,
  counts,
  endReason: EndReason.FAILED,
  errorReason: ErrorReason.ENGINE_TRUNCATED,
  attempts: [
    { replicaId: "sim-1", dispatchMs: 1_795_647_402_784, durationMs: 12, counts, reason: ErrorReason.ENGINE_FAILED },
    { replicaId: "sim-0", dispatchMs: 1_795_647_402_796, durationMs: undefined, counts: undefined, reason: 0 },
  ],
};

function written(over: Partial<UsageFacts> = {}): Buffer {
  const writer = new WireWriter(Buffer.alloc(65_536, 0xee));
  writer.at = 17;
  writeUsage(writer, { ...facts, ...over });
  return writer.buffer.subarray(17, writer.at);
}

const read = (bytes: Uint8Array) => fromBinary(UsageRecordSchema, bytes);

const tokens = {
  promptTokens: 1_200n,
  completionTokens: 300n,
  cachedTokens: 128n,
  reasoningTokens: 20n,
  promptSource: CountSource.ENGINE,
  completionSource: CountSource.COUNTED,
};
const expected: MessageInitShape<typeof UsageRecordSchema> = {
  requestId,
  state: UsageState.FINAL,
  sequence: 300n,
  orgId: "acme",
  projectId: "acme-one",
  keyId: "k1",
  requestedModel: "chat",
  model: "weir-sim",
  replicaId: "sim-0",
  operation: "generate",
  admitTime: timestampFromMs(1_795_647_402_784),
  timeToFirstToken: { nanos: 53_250_000 },
  duration: { seconds: 61n, nanos: 53_500_000 },
  queueTime: durationFromMs(2_000),
  tokens,
  endReason: EndReason.FAILED,
  errorReason: ErrorReason.ENGINE_TRUNCATED,
  attempts: [
    {
      replicaId: "sim-1",
      dispatchTime: timestampFromMs(1_795_647_402_784),
      duration: durationFromMs(12),
      tokens,
      errorReason: ErrorReason.ENGINE_FAILED,
    },
    { replicaId: "sim-0", dispatchTime: timestampFromMs(1_795_647_402_796) },
  ],
};

describe("a record's bytes", () => {
  test("say what the facts say, and are those that protobuf itself writes", () => {
    const message = create(UsageRecordSchema, expected);
    expect(read(written())).toEqual(message);
    expect(written().length).toBe(toBinary(UsageRecordSchema, message).length);
  });

  test("leave out what is not known; what is required is there", () => {
    const bytes = written({
      replicaId: "",
      firstTokenMs: undefined,
      durationMs: undefined,
      queuedMs: 0,
      counts: undefined,
      endReason: EndReason.UNSPECIFIED,
      errorReason: ErrorReason.UNSPECIFIED,
      attempts: [],
    });
    const { timeToFirstToken, duration, queueTime, attempts, tokens: none } = read(bytes);
    expect([timeToFirstToken, duration, queueTime, attempts]).toEqual([undefined, undefined, undefined, []]);
    expect(none).toMatchObject({ promptTokens: 0n, completionTokens: 0n, promptSource: CountSource.COUNTED });
  });

  test("hold numbers up to 2^53, names of any script and of the longest kind, and the last 16 attempts", () => {
    for (const count of [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1]) {
      const { tokens: kept } = read(written({ counts: { ...counts, promptTokens: count } }));
      expect(kept?.promptTokens).toBe(BigInt(count));
    }
    for (const name of ["é", "模型".repeat(64), "🌊".repeat(256), "a".repeat(127), "a".repeat(128), "a".repeat(256)]) {
      const identity = identityFields(principal, name, name, "generate");
      const attempts = Array.from({ length: 20 }, (_, i) => ({
        replicaId: `${name.slice(0, -2)}${i}`,
        dispatchMs: facts.admitMs + i,
        durationMs: i,
        counts,
        reason: ErrorReason.ENGINE_FAILED,
      }));
      const record = read(written({ identity, replicaId: name, attempts }));
      expect([record.requestedModel, record.model, record.replicaId]).toEqual([name, name, name]);
      expect(record.attempts.map(({ replicaId }) => replicaId)).toEqual(
        attempts.slice(4).map(({ replicaId }) => replicaId),
      );
    }
  });

  test("times are rounded to the microsecond, and never to a whole second's worth of nanoseconds", () => {
    for (const ms of [0, 0.0004, 999.9999, 1_000, 1_999.99999, 86_400_000.5]) {
      const { duration } = read(written({ durationMs: ms }));
      const kept = Number(duration?.seconds ?? 0n) * 1_000 + (duration?.nanos ?? 0) / 1e6;
      expect(Math.abs(kept - ms)).toBeLessThan(0.002);
      expect(duration?.nanos).toBeLessThan(1_000_000_000);
    }
  });
});

describe("identities", () => {
  test("are remembered of a key and a name, until the name means another model", () => {
    const identities = new Identities();
    const first = identities.of(principal, "chat", "a", "generate");
    expect(identities.of(principal, "chat", "a", "generate")).toBe(first);
    expect(identities.of(principal, "chat", "b", "generate")).toEqual(
      identityFields(principal, "chat", "b", "generate"),
    );
    expect(identities.of(principal, "chat", "a", "generate")).toEqual(first);
    for (let i = 0; i < 200; i++) identities.of(principal, `name-${i}`, "a", "generate");
    expect(identities.of(principal, "chat", "a", "generate")).toEqual(first);
  });

  test("of one name and several operations are kept apart", () => {
    const identities = new Identities();
    const generate = identities.of(principal, "chat", "a", "generate");
    expect(identities.of(principal, "chat", "a", "embed")).toEqual(identityFields(principal, "chat", "a", "embed"));
    expect(identities.of(principal, "chat", "a", "generate")).toBe(generate);
  });
});

describe("the end of a request whose process died", () => {
  const progress = {
    handle: 1,
    sequence: 301,
    completionTokens: 412,
    reasoningTokens: 30,
    elapsedMs: 2_500,
    firstTokenMs: 40,
    estimated: true,
  };
  const running: Partial<UsageFacts> = {
    state: UsageState.PROGRESS,
    durationMs: undefined,
    endReason: EndReason.UNSPECIFIED,
    errorReason: ErrorReason.UNSPECIFIED,
  };

  test("is what was noted last", () => {
    const record = read(lostRecord(written(running), progress));
    expect(record).toMatchObject({
      state: UsageState.FINAL,
      endReason: EndReason.LOST,
      sequence: 302n,
      tokens: { promptTokens: 1_200n, completionTokens: 412n, reasoningTokens: 30n, completionSource: 3 },
      duration: { seconds: 2n, nanos: 500_000_000 },
      timeToFirstToken: { nanos: 40_000_000 },
      checkpoint: false,
    });
    expect(record.attempts.at(-1)?.tokens).toEqual(record.tokens);
    expect(record.attempts[0]?.tokens).toMatchObject({ completionTokens: 300n });
    expect(lostRecord(written(running), progress)).toEqual(lostRecord(written(running), progress));
  });

  test("takes no progress of a try that was lost before its newest snapshot", () => {
    for (const stale of [undefined, { ...progress, sequence: 300 }]) {
      const record = read(lostRecord(written(running), stale));
      expect(record).toMatchObject({ sequence: 301n, tokens: { completionTokens: 300n }, endReason: EndReason.LOST });
    }
  });

  test("of bytes that are no record is refused", () => {
    expect(() => lostRecord(Buffer.from([0xff, 0xff]), undefined)).toThrow();
  });
});

describe("why a request ended", () => {
  const { CANCELLED, DEADLINE, LIMIT, REVOKED, FAILED, COMPLETED } = EndReason;
  const rows: readonly [ErrorReason | undefined, EndReason][] = [
    [undefined, COMPLETED],
    [ErrorReason.CANCELLED, CANCELLED],
    [ErrorReason.SLOW_READER, CANCELLED],
    [ErrorReason.DEADLINE_EXCEEDED, DEADLINE],
    [ErrorReason.KEY_REVOKED, REVOKED],
    [ErrorReason.KEY_EXPIRED, REVOKED],
    [ErrorReason.BUDGET_EXHAUSTED, LIMIT],
    [ErrorReason.RATE_LIMITED, LIMIT],
    [ErrorReason.DRAINING, FAILED],
    [ErrorReason.ENGINE_TRUNCATED, FAILED],
    [ErrorReason.QUEUE_TIMEOUT, FAILED],
    [ErrorReason.ENGINE_PROTOCOL, FAILED],
  ];
  test.each(rows)("%s: %s", (reason, end) => {
    expect(endReasonOf(reason)).toBe(end);
  });
});
