import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";
import { resolveMaxTokens, sizeOfText, type TokenBounds } from "../../../services/router/max-tokens.ts";

const exact = (tokens: number) => ({ least: tokens, likely: tokens });
const bounds: TokenBounds = {
  requested: 0,
  context: 0,
  outputMax: 0,
  mustBeTold: true,
  prompt: exact(100),
  param: "messages",
};

describe("an engine that must be told gets the least of all bounds", () => {
  const rows: readonly [string, Partial<TokenBounds>, number][] = [
    ["nothing is known", {}, 4_096],
    ["the model's own maximum", { outputMax: 512 }, 512],
    ["the caller's, below it", { requested: 7 }, 7],
    ["the caller's, above it", { requested: 9_000 }, 4_096],
    ["what the context leaves", { context: 1_000 }, 900],
    ["the caller's, where the context leaves more", { context: 1_000, requested: 50 }, 50],
    [
      "a guess that is over its limit leaves what is surely left",
      { context: 1_000, prompt: sizeOfText(4_400, 4) },
      725,
    ],
    ["one token at least", { context: 101 }, 1],
  ];
  test.each(rows)("%s", (_name, over, expected) => {
    expect(resolveMaxTokens({ ...bounds, ...over })).toBe(expected);
  });
});

test("another engine gets what the caller said, or nothing", () => {
  expect(resolveMaxTokens({ ...bounds, mustBeTold: false, context: 1_000 })).toBe(0);
  expect(resolveMaxTokens({ ...bounds, mustBeTold: false, context: 10_000, requested: 9_000 })).toBe(9_000);
});

describe("clearly over the context", () => {
  const rows: readonly [string, Partial<TokenBounds>, string, string][] = [
    ["token ids alone", { context: 100 }, "100", ""],
    ["token ids and what is asked for", { context: 150, requested: 51 }, "100", "51"],
    ["a long text", { context: 1_000, prompt: sizeOfText(16_016, 4) }, "about 4004", ""],
    ["far too much asked for", { context: 1_000, prompt: sizeOfText(40, 4), requested: 5_000 }, "about 10", "5000"],
  ];
  test.each(rows)("%s", (_name, over, promptTokens, maxTokens) => {
    const outcome = resolveMaxTokens({ ...bounds, mustBeTold: false, ...over });
    expect(outcome).toBeInstanceOf(WeirError);
    if (!(outcome instanceof WeirError)) return;
    expect(outcome.reason).toBe(ErrorReason.CONTEXT_LENGTH_EXCEEDED);
    expect(outcome.facts).toEqual({
      param: "messages",
      limit: String(over.context),
      prompt_tokens: promptTokens,
      max_tokens: maxTokens,
    });
  });

  test("a text that may fit is left to the engine", () => {
    expect(resolveMaxTokens({ ...bounds, mustBeTold: false, context: 1_000, prompt: sizeOfText(15_900, 4) })).toBe(0);
  });
});
