import { Dimension, type Limit, LimitMode, OnFailure, Overrun } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";

/** What a request uses, or may use, in tokens. */
export interface Tokens {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** What of a limit a holder goes by, with its defaults resolved. Amounts are in the limit's unit. */
export interface Terms {
  readonly limit: Limit;
  readonly dimension: Dimension;
  readonly ceiling: number;
  /** The most that it can ever hold. */
  readonly whole: number;
  /** Over how long the ceiling refills, in milliseconds; 0: it does not refill all the time. */
  readonly refillMs: number;
  /** It begins anew with the calendar. */
  readonly budget: boolean;
  readonly enforced: boolean;
  readonly onFailure: OnFailure;
  /** An answer that needs more than it was given is cut, and not owed. */
  readonly cuts: boolean;
}

/** Reads a limit. */
export function termsOf(limit: Limit): Terms {
  const { spec } = limit;
  const dimension = spec?.dimension ?? Dimension.UNSPECIFIED;
  const ceiling = Number(spec?.ceiling.value ?? 0n);
  const rate = spec?.window.case === "rate" ? spec.window.value : undefined;
  const budget = spec?.window.case === "budget";
  const per = rate?.per;
  return {
    limit,
    dimension,
    ceiling,
    whole: Number(rate?.burst ?? 0n) || ceiling,
    refillMs: per ? Number(per.seconds) * 1_000 + per.nanos / 1e6 : 0,
    budget,
    enforced: spec?.mode !== LimitMode.SHADOW,
    onFailure: spec?.onFailure || (budget ? OnFailure.CLOSED : OnFailure.LOCAL),
    cuts: (spec?.overrun || (budget ? Overrun.CUT : Overrun.DEBT)) === Overrun.CUT && countsAnswers(dimension),
  };
}

function countsAnswers(dimension: Dimension): boolean {
  return dimension === Dimension.OUTPUT_TOKENS || dimension === Dimension.TOTAL_TOKENS;
}

/** What a request has to have set aside in a dimension to run. */
export function neededIn(dimension: Dimension, { inputTokens, outputTokens }: Tokens): number {
  switch (dimension) {
    case Dimension.REQUESTS:
    case Dimension.CONCURRENT_REQUESTS:
      return 1;
    case Dimension.INPUT_TOKENS:
      return inputTokens;
    case Dimension.OUTPUT_TOKENS:
      return outputTokens;
    case Dimension.TOTAL_TOKENS:
      return inputTokens + outputTokens;
    default:
      // Nothing has a price so far.
      return 0;
  }
}

/** What a request that is over has drawn in a dimension. */
export function usedIn(dimension: Dimension, used: Tokens): number {
  return dimension === Dimension.CONCURRENT_REQUESTS ? 0 : neededIn(dimension, used);
}
