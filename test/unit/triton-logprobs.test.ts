import { describe, expect, test } from "vitest";
import { logprobsFrom } from "../../services/drivers/triton/logprobs.ts";

/** As the backend writes it: Python keeps the order of ids, the drawn one first. */
const entry = (id: number, logprob: number | string, rank: number, token: string) =>
  `"${id}": {"logprob": ${logprob}, "rank": ${rank}, "decoded_token": ${JSON.stringify(token)}}`;
const told = (text: string, top = 2) =>
  logprobsFrom(text, top).map(({ token, logprob, top: likeliest }) => [
    token,
    logprob,
    likeliest.map((one) => `${one.token} ${one.logprob}`),
  ]);

describe("log probabilities of the vLLM backend", () => {
  test("the first of each place is the token that was drawn, whatever its id", () => {
    const text = `[{${entry(500, -0.1, 1, " river")}, ${entry(7, -2.5, 2, " weir")}}]`;
    expect(told(text)).toEqual([[" river", -0.1, [" river -0.1", " weir -2.5"]]]);
  });

  test("one that is less likely than those listed is none of them", () => {
    const text = `[{${entry(500, -9, 80, "x")}, ${entry(7, -0.1, 1, "a")}, ${entry(3, -0.2, 2, "b")}}]`;
    expect(told(text)).toEqual([["x", -9, ["a -0.1", "b -0.2"]]]);
    expect(told(`[{${entry(500, -9, 80, "x")}}]`, 0)).toEqual([["x", -9, []]]);
  });

  test("several places, and what looks like an id or an infinity in a text", () => {
    const odd = '{"7": "logprob": -Infinity';
    const text = `[{${entry(1, -1, 1, odd)}}, {${entry(2, "-Infinity", 1, "é")}}]`;
    expect(told(text, 1)).toEqual([
      [odd, -1, [`${odd} -1`]],
      ["é", -9_999, ["é -9999"]],
    ]);
    expect(logprobsFrom(text, 1)[1]?.bytes).toEqual(new TextEncoder().encode("é"));
  });

  test.each(["null", "", "[", "7", "{}", "[null]", "[{}]", '[{"1": 2}]'])("nothing of %j", (text) => {
    expect(logprobsFrom(text, 2)).toEqual([]);
  });

  test("a token without a text, and a likelihood that is none", () => {
    expect(told('[{"1": {"logprob": "x", "rank": null, "decoded_token": null}}]')).toEqual([["", -9_999, [" -9999"]]]);
  });
});
