import { expect, test } from "vitest";
import { EndReason, UsageState } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { sortOut } from "../../../services/usage/intake.ts";
import { createSeriesIndex } from "../../../services/usage/series.ts";
import { seededRandom } from "../../fakes/seeded-random.ts";
import { makeHistory, truthOf } from "../../fakes/usage-histories.ts";
import { bytesOf, type RecordInit, usageRecord } from "../../fakes/usage-records.ts";

const everything = { fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER };
const series = createSeriesIndex();
const id = "019d463c-2d2e-77c3-8432-5e4b884bfa3f";
const admitMs = Date.UTC(2026, 3, 1);

const running = { endReason: EndReason.UNSPECIFIED };
const intent: RecordInit = { state: UsageState.INTENT, ...running };
const progress: RecordInit = { state: UsageState.PROGRESS, ...running };
const checkpoint: RecordInit = { checkpoint: true, endReason: EndReason.LOST };
const word = (over: RecordInit, sequence: number) =>
  bytesOf(usageRecord(id, admitMs, { ...over, sequence: BigInt(sequence) }));

/** What was said first, what then, and which of the two is kept. */
const pairs: readonly (readonly [string, Uint8Array, Uint8Array, "first" | "second"])[] = [
  ["a later intent", word(intent, 1), word(intent, 2), "second"],
  ["an earlier intent", word(intent, 2), word(intent, 1), "first"],
  ["progress after an intent", word(intent, 5), word(progress, 2), "second"],
  ["an intent after progress", word(progress, 1), word(intent, 9), "first"],
  ["more progress", word(progress, 2), word(progress, 3), "second"],
  ["a checkpoint", word(progress, 9), word(checkpoint, 1), "second"],
  ["a better checkpoint", word(checkpoint, 1), word(checkpoint, 2), "second"],
  ["a worse checkpoint", word(checkpoint, 2), word(checkpoint, 1), "first"],
  ["progress after a checkpoint", word(checkpoint, 1), word(progress, 9), "first"],
  ["an end after a checkpoint", word(checkpoint, 9), word({}, 1), "second"],
  ["a checkpoint after an end", word({}, 1), word(checkpoint, 9), "first"],
  ["another end", word({}, 1), word({ endReason: EndReason.FAILED }, 9), "first"],
];

test.each(pairs)("%s", (_name, first, second, kept) => {
  const [winner] = sortOut([kept === "first" ? first : second], everything, series).rows;
  expect(sortOut([first, second], everything, series).rows).toEqual([winner]);
});

test("a batch in any order is folded to the same rows, in the order of their ids", () => {
  const random = seededRandom(4);
  const { words } = makeHistory({ random, requests: 100, startMs: admitMs, lengthMs: 1_000 });
  const expected = sortOut([...truthOf(words).values()].map(bytesOf), everything, series).rows;
  for (let round = 0; round < 20; round++) {
    const { rows } = sortOut(random.shuffled([...words, ...words]).map(bytesOf), everything, series);
    expect(rows).toEqual(expected);
  }
  const ids = expected.map(({ requestId }) => requestId);
  expect(ids).toEqual([...ids].sort());
});
