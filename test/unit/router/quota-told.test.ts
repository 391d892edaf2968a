import { expect, test } from "vitest";
import { ask, LeaseHolders } from "../../fakes/lease-holders.ts";
import { limitOf } from "../../fakes/limits.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";

/** An answer of a stated length. */
const stated = (outputTokens: number) => ({
  expected: { inputTokens: 10, outputTokens },
  least: { inputTokens: 10, outputTokens },
});

test("of a rate with a burst callers are told the burst: no more can be left, and no more fits", async () => {
  const rate = { per: "60s", burst: "200" };
  const node = new LeaseHolders([limitOf("l", { dimension: "DIMENSION_TOTAL_TOKENS", count: "1000", rate })]);
  const holder = node.start("n");
  const [fits, exceeds] = [ask(holder, "m", stated(40)), ask(holder, "m", stated(290))];
  await node.pass(600);
  const [grant, refusal] = [await fits, await exceeds];
  if (grant instanceof WeirError) throw grant;
  expect(grant.rateLimits(node.clock.monotonicMs()).tokens).toMatchObject({ limit: 200n, remaining: 150n });
  expect(refusal).toMatchObject({ facts: { limit: "200", needed: "300" } });
});
