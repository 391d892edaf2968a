import { Dimension, type Limit, LimitMode, Overrun } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Amounts } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";

/** Whether a limit counts what a request costs at all: one on money counts its own currency only. */
export function counts(limit: Limit, amounts: Amounts): boolean {
  return limit.spec?.dimension !== Dimension.COST || limit.spec.currency === amounts.currency;
}

/** What amounts come to in a limit's unit, the request itself left out. */
export function meteredIn(limit: Limit, amounts: Amounts): bigint {
  switch (limit.spec?.dimension) {
    case Dimension.INPUT_TOKENS:
      return amounts.inputTokens;
    case Dimension.OUTPUT_TOKENS:
      return amounts.outputTokens;
    case Dimension.TOTAL_TOKENS:
      return amounts.inputTokens + amounts.outputTokens;
    case Dimension.COST:
      return counts(limit, amounts) ? amounts.costNanos : 0n;
    default:
      return 0n;
  }
}

/** Whether a limit counts requests, at once or in all, and not what they use. */
export function countsRequests(limit: Limit): boolean {
  return limit.spec?.dimension === Dimension.REQUESTS || limit.spec?.dimension === Dimension.CONCURRENT_REQUESTS;
}

/** What a request reserves of a limit if it is expected to use these amounts. */
export function reservedIn(limit: Limit, amounts: Amounts): bigint {
  return countsRequests(limit) ? 1n : meteredIn(limit, amounts);
}

/** What a request has drawn of a limit once it has used these amounts and ended: of requests at once, nothing. */
export function usedIn(limit: Limit, amounts: Amounts): bigint {
  return limit.spec?.dimension === Dimension.REQUESTS ? 1n : meteredIn(limit, amounts);
}

/** The same while it runs: it counts as a request once it has used something. */
export function usedSoFarIn(limit: Limit, amounts: Amounts): bigint {
  if (limit.spec?.dimension !== Dimension.REQUESTS) return meteredIn(limit, amounts);
  return amounts.inputTokens > 0n || amounts.outputTokens > 0n || amounts.costNanos > 0n ? 1n : 0n;
}

export function refuses(limit: Limit): boolean {
  return limit.spec?.mode !== LimitMode.SHADOW;
}

/** Whether an answer that grows beyond what was reserved is cut: by default that of a budget is. */
export function cuts(limit: Limit): boolean {
  const overrun = limit.spec?.overrun ?? Overrun.UNSPECIFIED;
  return overrun === Overrun.CUT || (overrun === Overrun.UNSPECIFIED && limit.spec?.window.case === "budget");
}
