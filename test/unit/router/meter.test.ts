import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { CountSource, type Delta, FinishReason, UsageSchema } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { delta, deltaEvent, finished, textDelta } from "../../../services/drivers/events.ts";
import { createMeter, type MeterOptions } from "../../../services/router/metering/meter.ts";
import { createTokenEstimate } from "../../../services/router/metering/token-estimate.ts";
import { createStreamCheck, hasContent } from "../../../services/router/stream-check.ts";

const { ENGINE, COUNTED, ESTIMATED } = CountSource;
const options: MeterOptions = {
  prompt: { bytes: 40, tokens: undefined },
  bytesPerToken: 4,
  promptMax: 0,
  completionMax: 0,
};
const text = (value: string, tokens: number) => delta(0, { case: "text", value }, tokens);
const thought = (value: string, tokens: number) => delta(0, { case: "reasoning", value }, tokens);
const call = (name: string, args: string) =>
  delta(
    0,
    {
      case: "toolCall",
      value: { $typeName: "weir.router.v1.ToolCallFragment", index: 0, id: "c", name, arguments: args },
    },
    0,
  );
const usage = (promptTokens: number, completionTokens: number, cachedTokens = 0, reasoningTokens = 0) =>
  create(UsageSchema, {
    promptTokens: BigInt(promptTokens),
    completionTokens: BigInt(completionTokens),
    cachedTokens: BigInt(cachedTokens),
    reasoningTokens: BigInt(reasoningTokens),
  });

test("what comes after the engine's word is counted here, until its next word", () => {
  const meter = createMeter(options);
  meter.add(text("a", 1));
  meter.engineSays(usage(12, 1));
  meter.add(text("b", 1));
  expect(meter.counts()).toMatchObject({ completionTokens: 2, completionSource: COUNTED, promptTokens: 12 });
  expect([meter.received, meter.thought, meter.estimated]).toEqual([2, 0, false]);
  meter.add(thought("12345", 0));
  expect([meter.received, meter.thought, meter.estimated]).toEqual([4, 1.25, true]);
  meter.engineSays(usage(12, 5));
  expect(meter.counts()).toMatchObject({ completionTokens: 5, completionSource: ENGINE });
});

describe("counts", () => {
  const rows: readonly [
    string,
    Partial<MeterOptions>,
    readonly Delta[],
    ReturnType<typeof usage> | undefined,
    readonly unknown[],
  ][] = [
    ["nothing came", {}, [], undefined, [10, 0, 0, 0, ESTIMATED, COUNTED]],
    [
      "a prompt of token ids is counted",
      { prompt: { bytes: 0, tokens: 7 } },
      [],
      undefined,
      [7, 0, 0, 0, COUNTED, COUNTED],
    ],
    ["tokens that the engine marks", {}, [text("a", 1), text("", 2)], undefined, [10, 3, 0, 0, ESTIMATED, COUNTED]],
    [
      "text without a count is estimated by its bytes",
      {},
      [text("12345", 0), text("é", 0)],
      undefined,
      [10, 2, 0, 0, ESTIMATED, ESTIMATED],
    ],
    ["both", {}, [text("a", 4), text("12345678", 0)], undefined, [10, 6, 0, 0, ESTIMATED, ESTIMATED]],
    ["function calls count too", {}, [call("name", "{}{}")], undefined, [10, 2, 0, 0, ESTIMATED, ESTIMATED]],
    ["thoughts are a part", {}, [thought("a", 3), text("b", 1)], undefined, [10, 4, 0, 3, ESTIMATED, COUNTED]],
    ["the engine's word counts", {}, [text("a", 1)], usage(12, 2, 8, 1), [12, 2, 8, 1, ENGINE, ENGINE]],
    ["cached tokens are at most the prompt", {}, [text("a", 1)], usage(12, 2, 99), [12, 2, 12, 0, ENGINE, ENGINE]],
    [
      "a prompt over the context is nonsense",
      { promptMax: 100 },
      [text("a", 1)],
      usage(101, 2),
      [10, 2, 0, 0, ESTIMATED, ENGINE],
    ],
    [
      "an answer over what was allowed is nonsense",
      { completionMax: 5 },
      [text("a", 1)],
      usage(12, 6),
      [12, 1, 0, 0, ENGINE, COUNTED],
    ],
    [
      "a piece of more tokens than were allowed is estimated by its bytes",
      { completionMax: 5 },
      [text("a", 1), text("12345678", 2_000_000_000), text("b", 4)],
      undefined,
      [10, 7, 0, 0, ESTIMATED, ESTIMATED],
    ],
    [
      "a thought of more tokens than any answer has is estimated too",
      {},
      [thought("12345678", 2_000_000_000)],
      usage(12, 2_000_000_000),
      [12, 2, 0, 2, ENGINE, ESTIMATED],
    ],
    ["no answer where one came is nonsense", {}, [text("a", 1)], usage(12, 0), [12, 1, 0, 0, ENGINE, COUNTED]],
    ["no answer where none came is true", {}, [], usage(12, 0), [12, 0, 0, 0, ENGINE, ENGINE]],
    [
      "a prompt that is only echoed is no answer",
      { onlyEcho: true },
      [text("a", 1)],
      undefined,
      [10, 0, 0, 0, ESTIMATED, COUNTED],
    ],
    [
      "no answer behind an echo is true",
      { onlyEcho: true },
      [text("a", 1)],
      usage(12, 0),
      [12, 0, 0, 0, ENGINE, ENGINE],
    ],
    ["negative counts are nonsense", {}, [text("a", 1)], usage(-1, -1, -1, -1), [10, 1, 0, 0, ESTIMATED, COUNTED]],
  ];
  test.each(rows)("%s", (_name, over, deltas, told, expected) => {
    const meter = createMeter({ ...options, ...over });
    for (const one of deltas) meter.add(one);
    if (told) meter.engineSays(told);
    const counts = meter.counts();
    expect([
      counts.promptTokens,
      counts.completionTokens,
      counts.cachedTokens,
      counts.reasoningTokens,
      counts.promptSource,
      counts.completionSource,
    ]).toEqual(expected);
    expect(meter.promptFromEngine).toBe(counts.promptSource === ENGINE);
  });
});

test("the estimate of a token's bytes moves to what engines count, within bounds", () => {
  const estimate = createTokenEstimate();
  expect(estimate.bytesPerToken("m")).toBe(4);
  for (let round = 0; round < 200; round++) estimate.learn("m", 1_000, 500);
  expect(estimate.bytesPerToken("m")).toBeCloseTo(2, 2);
  expect(estimate.bytesPerToken("n")).toBe(4);
  for (let round = 0; round < 200; round++) estimate.learn("m", 1_000_000, 1);
  expect(estimate.bytesPerToken("m")).toBeCloseTo(8, 2);
  estimate.learn("n", 10, 9);
  expect(estimate.bytesPerToken("n")).toBe(4);
});

describe("the check of a stream", () => {
  test("a good one has no problem, and is complete when each choice has ended", () => {
    const check = createStreamCheck(2);
    const events = [textDelta(1, "a", 1), finished(1, FinishReason.STOP), textDelta(0, "b", 1)];
    for (const event of events) expect(check.problemOf(event)).toBeUndefined();
    expect(check.complete).toBe(false);
    expect(check.problemOf(finished(0, FinishReason.STOP))).toBeUndefined();
    expect(check.complete).toBe(true);
    expect(check.problemOf(textDelta(0, "", 1))).toBeUndefined();
  });

  test.each([
    ["a choice above", textDelta(2, "a", 1)],
    ["a choice below", textDelta(-1, "a", 1)],
    ["the end of a choice above", finished(2, FinishReason.STOP)],
    ["a piece after the end", textDelta(0, "a", 1)],
    ["a second end", finished(0, FinishReason.STOP)],
  ])("%s is a problem", (_name, event) => {
    const check = createStreamCheck(2);
    check.problemOf(finished(0, FinishReason.STOP));
    expect(check.problemOf(event)).toBeTypeOf("string");
  });

  test("a piece has content when a caller can tell that it came", () => {
    expect(hasContent(text("", 3))).toBe(false);
    expect(hasContent(delta(0, { case: undefined }, 3))).toBe(false);
    expect(hasContent(text("a", 0))).toBe(true);
    expect(hasContent(call("", ""))).toBe(true);
    expect(hasContent({ ...text("", 1), tokenIds: [3] })).toBe(true);
    expect(deltaEvent(text("a", 1)).event.case).toBe("delta");
  });
});
