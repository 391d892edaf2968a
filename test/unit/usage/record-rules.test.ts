import { isUnknownEnum } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import {
  EndReason,
  UsageRecordSchema,
  UsageState,
  UsageStateSchema,
} from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { idWindow, sortOut } from "../../../services/usage/intake.ts";
import { leastIdAt } from "../../../services/usage/request-id.ts";
import { createSeriesIndex } from "../../../services/usage/series.ts";
import { seededRandom } from "../../fakes/seeded-random.ts";
import { makeHistory } from "../../fakes/usage-histories.ts";
import { bytesOf, type RecordInit, usageRecord } from "../../fakes/usage-records.ts";

const nowMs = Date.UTC(2026, 3, 15, 12);
const dayMs = 86_400_000;
const window = idWindow(nowMs, 60 * dayMs, nowMs);
const series = createSeriesIndex();
const validator = createValidator();

const idAt = (ms: number) => leastIdAt(ms).replace("-0000-0000-", "-7abc-9def-");
const id = idAt(nowMs);
const judge = (bytes: Uint8Array) => sortOut([bytes], window, series);
const judged = (over: RecordInit) => judge(bytesOf(usageRecord(id, nowMs, over))).setAside[0];
const attempt = { replicaId: "r", dispatchTime: timestampFromMs(nowMs) };
const attempts = (over: Exclude<RecordInit["attempts"], undefined>[number]) => ({
  attempts: [{ ...attempt, ...over }],
});
/** A number that no enum has. */
const unknown = (value: number) => {
  if (!isUnknownEnum(UsageStateSchema, value)) throw new Error("it is known");
  return value;
};
const long = "x".repeat(257);

/** What is wrong, the record, and whether the contract's own rules refuse it as well. */
const bad: readonly (readonly [string, RecordInit, "malformed" | "counts" | "too_old" | "future", boolean])[] = [
  ["no id", { requestId: "" }, "malformed", true],
  ["an id that is no UUID", { requestId: "1234" }, "malformed", true],
  ["an id of another kind", { requestId: "f47ac10b-58cc-4372-a567-0e02b2c3d479" }, "malformed", false],
  ["no state", { state: UsageState.UNSPECIFIED }, "malformed", true],
  ["an unknown state", { state: unknown(9) }, "malformed", true],
  ["a negative state", { state: unknown(-1) }, "malformed", true],
  ["no sequence", { sequence: 0n }, "malformed", true],
  ["a negative sequence", { sequence: -1n }, "malformed", true],
  ["a sequence that is not exact", { sequence: 2n ** 53n }, "malformed", false],
  ["a bad organisation", { orgId: "Acme" }, "malformed", true],
  ["no project", { projectId: "" }, "malformed", true],
  ["a bad key", { keyId: "a-b" }, "malformed", true],
  ["a bad user", { userId: "a b" }, "malformed", true],
  ["no model", { model: "" }, "malformed", true],
  ["a long model", { model: long }, "malformed", true],
  ["no requested model", { requestedModel: "" }, "malformed", true],
  ["a long replica", { replicaId: long }, "malformed", true],
  ["a bad operation", { operation: "Generate!" }, "malformed", true],
  ["an end without a reason", { endReason: EndReason.UNSPECIFIED }, "malformed", false],
  ["a reason while it runs", { state: UsageState.PROGRESS }, "malformed", false],
  ["an end that is no number of ours", { endReason: unknown(32_768) }, "malformed", true],
  ["an error that is no number of ours", { errorReason: unknown(32_768) }, "malformed", true],
  ["an admission in another age", { admitTime: timestampFromMs(nowMs - 2 * dayMs) }, "malformed", false],
  ["a negative duration", { duration: durationFromMs(-1) }, "malformed", false],
  ["a duration of months", { duration: durationFromMs(2 ** 31) }, "malformed", false],
  ["a negative wait", { queueTime: durationFromMs(-5) }, "malformed", false],
  ["a first token of another age", { timeToFirstToken: { seconds: 2n ** 60n } }, "malformed", false],
  ["too many attempts", { attempts: Array.from({ length: 17 }, () => attempt) }, "malformed", true],
  ["an attempt nowhere", attempts({ replicaId: "" }), "malformed", true],
  ["an attempt that fails oddly", attempts({ errorReason: unknown(-1) }), "malformed", true],
  ["an attempt of another age", attempts({ dispatchTime: timestampFromMs(0) }), "malformed", false],
  ["a negative prompt", { tokens: { promptTokens: -1n } }, "counts", true],
  ["a negative completion", { tokens: { completionTokens: -(2n ** 63n) } }, "counts", true],
  ["negative cached tokens", { tokens: { cachedTokens: -1n } }, "counts", true],
  ["negative reasoning", { tokens: { reasoningTokens: -1n } }, "counts", true],
  ["an absurd prompt", { tokens: { promptTokens: 2n ** 31n } }, "counts", false],
  ["a prompt over 2^53", { tokens: { promptTokens: 2n ** 53n + 1n } }, "counts", false],
  ["the largest completion", { tokens: { completionTokens: 2n ** 63n - 1n } }, "counts", false],
  ["more cached than there was", { tokens: { promptTokens: 1n, cachedTokens: 2n } }, "counts", false],
  ["more thought than answered", { tokens: { completionTokens: 1n, reasoningTokens: 2n } }, "counts", false],
  ["a count from nowhere", { tokens: { promptSource: unknown(77) } }, "counts", true],
  ["a negative count of an attempt", attempts({ tokens: { promptTokens: -1n } }), "counts", true],
  ["an absurd count of an attempt", attempts({ tokens: { completionTokens: 2n ** 40n } }), "counts", false],
];

test.each(bad)("%s is set aside", (_name, over, reason, byContract) => {
  const record = usageRecord(id, nowMs, over);
  expect(judged(over)?.reason).toBe(reason);
  expect(validator.validate(UsageRecordSchema, record).kind).toBe(byContract ? "invalid" : "valid");
});

test("reasons of a newer version are kept as they are", () => {
  const over = {
    endReason: unknown(32_767),
    errorReason: unknown(9_999),
    ...attempts({ errorReason: unknown(9_998) }),
  };
  const { rows, setAside } = judge(bytesOf(usageRecord(id, nowMs, over)));
  expect(setAside).toEqual([]);
  expect(rows).toMatchObject([{ endReason: 32_767, errorReason: 9_999, attempts: [{ errorReason: 9_998 }] }]);
});

test("what must be set is missed", () => {
  for (const field of ["tokens", "admitTime"] as const) {
    const record = usageRecord(id, nowMs);
    delete record[field];
    expect(judge(bytesOf(record)).setAside[0]?.reason).toBe("malformed");
    expect(validator.validate(UsageRecordSchema, record).kind).toBe("invalid");
  }
});

test("a record that no ledger keeps any more, or that is from the future, is set aside", () => {
  const at = (ms: number) => judge(bytesOf(usageRecord(idAt(ms), ms))).setAside[0]?.reason;
  // Months are kept whole: 60 days before the 15th of April is the 14th of February.
  expect(at(Date.UTC(2026, 1, 1))).toBeUndefined();
  expect(at(Date.UTC(2026, 1, 1) - 1)).toBe("too_old");
  expect(at(nowMs + dayMs)).toBeUndefined();
  expect(at(nowMs + dayMs + 1)).toBe("future");
});

test("nodes' clocks may be off by an hour, and set while a request waits", () => {
  for (const off of [-3_600_000, 3_600_000]) {
    const moved = nowMs + off;
    expect(judge(bytesOf(usageRecord(idAt(moved), moved))).setAside).toEqual([]);
    expect(judged({ admitTime: timestampFromMs(moved) })).toBeUndefined();
    expect(judged(attempts({ dispatchTime: timestampFromMs(moved) }))).toBeUndefined();
  }
});

test("the largest of everything is kept", () => {
  const most = 2n ** 31n - 1n;
  const tokens = { promptTokens: most, completionTokens: most, cachedTokens: most, reasoningTokens: most };
  const model = "🙂".repeat(256);
  const full = { tokens, model, replicaId: model, sequence: 2n ** 53n - 1n, errorReason: ErrorReason.INTERNAL };
  expect(judged({ ...full, attempts: Array.from({ length: 16 }, () => ({ ...attempt, tokens })) })).toBeUndefined();
});

test("a bad record spoils no other, and is told with its place and its bytes", () => {
  const good = bytesOf(usageRecord(id, nowMs));
  const negative = bytesOf(usageRecord(id, nowMs, { tokens: { promptTokens: -1n } }));
  const noise = Uint8Array.from([0xff, 0xff]);
  const { rows, setAside } = sortOut([noise, good, negative], window, series);
  expect(rows.map(({ requestId }) => requestId)).toEqual([id]);
  expect(setAside).toEqual([
    { index: 0, requestId: "", reason: "malformed", problem: expect.stringContaining("protobuf"), bytes: noise },
    { index: 2, requestId: id, reason: "counts", problem: "tokens: a count is negative", bytes: negative },
  ]);
});

test("whatever a node says of its requests passes, and is what the contract allows", () => {
  const { words } = makeHistory({ random: seededRandom(8), requests: 200, startMs: nowMs, lengthMs: 1_000 });
  for (const word of words) expect(validator.validate(UsageRecordSchema, word).kind).toBe("valid");
  expect(sortOut(words.map(bytesOf), window, series).setAside).toEqual([]);
});
