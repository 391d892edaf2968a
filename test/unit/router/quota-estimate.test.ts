import { expect, test } from "vitest";
import { ask, LeaseHolders } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";

const none = limitOf("output", { dimension: "DIMENSION_OUTPUT_TOKENS", count: "0" });
const total = limitOf("total", { dimension: "DIMENSION_TOTAL_TOKENS", count: "100", rate: { per: "1s" } });

/** An answer whose length nobody stated, of a prompt that may be shorter than was estimated. */
const unstated = (inputTokens: number) => ({
  expected: { inputTokens, outputTokens: 256 },
  least: { inputTokens: 1, outputTokens: 0 },
});

test.each([
  ["allows no output", [none], 10],
  ["allows no output, with a prompt as long as another limit", [none, total], 100],
])("a limit that %s refuses answers whose length nobody stated", async (_what, limits, inputTokens) => {
  const node = new LeaseHolders(limits);
  const holder = node.start("n");
  const asked = ask(holder, "m", unstated(inputTokens));
  await node.pass(400);
  expect(await asked).toBeInstanceOf(WeirError);
  // Nor by the node's own share of it, while nobody can be asked.
  node.cut = true;
  const unasked = ask(holder, "m", unstated(inputTokens));
  await node.pass(1_500);
  expect(await unasked).toBeInstanceOf(WeirError);
});

test("an output limit that is used up refuses, also where a prompt is as long as another limit", async () => {
  const output = limitOf("output", { dimension: "DIMENSION_OUTPUT_TOKENS", count: "2", rate: { per: "86400s" } });
  const node = new LeaseHolders([output, total]);
  const holder = node.start("n");
  const stated = { expected: { inputTokens: 1, outputTokens: 2 }, least: { inputTokens: 1, outputTokens: 2 } };
  const first = ask(holder, "m", stated);
  await node.pass(400);
  const grant = await first;
  if (grant instanceof WeirError) throw grant;
  grant.settle({ inputTokens: 1, outputTokens: 2 });
  // The other limit is full again.
  await node.pass(1_000);
  const asked = ask(holder, "m", unstated(100));
  await node.pass(400);
  expect(await asked).toBeInstanceOf(WeirError);
});
