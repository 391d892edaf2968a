import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import type { Limit } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { ReservedShareSchema } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { Account } from "../../../services/router/quota/account.ts";
import { LocalShare } from "../../../services/router/quota/local-share.ts";
import { termsOf } from "../../../services/router/quota/terms.ts";
import { limitOf } from "../../fakes/limits.ts";

const perMinute = limitOf("l", { count: "100", rate: { per: "60s" } });
const atOnce = limitOf("l", { dimension: "DIMENSION_CONCURRENT_REQUESTS", count: "10", rate: null });

/** How often one can be drawn until the share has no more. */
function drawn(draw: () => unknown): number {
  let count = 0;
  while (draw() !== undefined && count < 1_000) count += 1;
  return count;
}

function shareOf(limit: Limit, holders: number): LocalShare {
  const share = new LocalShare(termsOf(limit), 0);
  share.holders = holders;
  return share;
}

const ones = (share: LocalShare, nowMs: number) => drawn(() => share.draw(1, nowMs) || undefined);

test("a rate's share is its part of the limit, and refills as the limit does", () => {
  const share = shareOf(perMinute, 4);
  expect([0, 0, 60_000, 66_000].map((nowMs) => ones(share, nowMs))).toEqual([25, 0, 25, 2]);
});

test("of requests at once a share is what runs here, in whole ones", () => {
  const share = shareOf(atOnce, 4);
  expect(ones(share, 0)).toBe(2);
  share.settle(1, 0);
  expect(ones(share, 0)).toBe(1);
});

test("with more nodes a share is smaller, and what was drawn of it stays drawn", () => {
  const share = shareOf(perMinute, 2);
  for (let i = 0; i < 20; i++) expect(share.draw(1, 0)).toBe(true);
  share.holders = 4;
  expect(ones(share, 0)).toBe(5);
});

test("an account divides by the holders or by the nodes that are there, whichever are more", () => {
  const admitted = (holders: number, nodes: number) => {
    const account = new Account(perMinute, 0);
    account.holders = holders;
    return drawn(() => account.unchecked(1, nodes, 0));
  };
  expect([admitted(1, 0), admitted(1, 4), admitted(5, 2)]).toEqual([100, 25, 20]);
});

test("a budget's share does not refill, and begins anew with the budget", () => {
  const dayMs = 86_400_000;
  const budget = limitOf("l", {
    budget: { period: "CALENDAR_PERIOD_DAY" },
    rate: null,
    onFailure: "ON_FAILURE_LOCAL",
  });
  const account = new Account(budget, 0);
  const resetTime = (ms: number) => create(ReservedShareSchema, { remaining: 100n, resetTime: timestampFromMs(ms) });
  account.shared(resetTime(dayMs), 0, 0);
  const left = (nowMs: number) => drawn(() => account.unchecked(1, 1, nowMs));
  expect(left(0)).toBe(100);
  account.shared(resetTime(dayMs), 3_600_000, 3_600_000);
  expect(left(3_600_000)).toBe(0);
  account.shared(resetTime(2 * dayMs), dayMs + 5, dayMs + 5);
  expect(left(dayMs + 5)).toBe(100);
});
