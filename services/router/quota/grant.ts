import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Dimension } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { PeriodShare, ReservedShare } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import type { RateLimit } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Rostered } from "../../runtime/roster.ts";
import type { Account } from "./account.ts";
import type { Consumption } from "./consumption.ts";
import type { Settlements } from "./settlements.ts";
import { neededIn, type Tokens, usedIn } from "./terms.ts";

/** What a request may use. It is settled or released once; what comes after that is not heard. */
export interface Grant {
  /** The most tokens that all choices of the answer may have together; 0: no cap. */
  readonly outputTokensMax: number;
  /** The answer may have to end early: it has to come in pieces. */
  readonly mayCut: boolean;
  /**
   * The answer has so many tokens by now. More is set aside ahead of what it will need.
   *
   * @returns false: a limit has no more of it, and the answer is to end here.
   */
  goesOn(outputTokens: number): boolean;
  /** The request has ended, and used this. */
  settle(used: Tokens): void;
  /** It was never dispatched: it counts for nothing. */
  release(): void;
  /** What its limits have left. */
  rateLimits(nowMs: number): RateLimits;
}

/** What the limit on requests, and that on tokens, has left that is nearest to its end; undefined: there is none. */
export interface RateLimits {
  readonly requests?: RateLimit | undefined;
  readonly tokens?: RateLimit | undefined;
}

const noLimits: RateLimits = Object.freeze({});

/** For everybody whom no limit counts. */
export const unlimited: Grant = Object.freeze({
  outputTokensMax: 0,
  mayCut: false,
  goesOn: () => true,
  settle: () => undefined,
  release: () => undefined,
  rateLimits: () => noLimits,
});

/** Where something was set aside. */
export interface Source {
  /** What was set aside is replaced by what was used. */
  settle(reserved: number, used: number): void;
}

/** What is set aside of one limit. */
export interface Part {
  readonly account: Account;
  /** Undefined: at the store, by the request's own reservation; or nowhere, and the store is told afterwards. */
  source: Source | undefined;
  /** The store knows of it by a lease or another reservation, and not by this request's. */
  apart: boolean;
  amount: number;
  /** What of a budget was set aside first, and in which of its periods. */
  period?: PeriodShare | undefined;
  /** What was set aside of the same limit later. */
  next: Part | undefined;
}

/** Draws more while an answer goes on. */
export interface Ahead {
  goesOn(outputTokens: number): boolean;
}

/** A request that limits count. */
export class HeldGrant implements Grant, Rostered {
  place = -1;
  readonly requestId: string;
  readonly consumption: Consumption;
  /** What was set aside for it. */
  readonly tokens: Tokens;
  readonly parts: Part[] = [];
  outputTokensMax = 0;
  /** The store holds a reservation of it, or may. */
  reserved = false;
  /** It runs without the store's word: that is told afterwards. */
  owed = false;
  /** The store knows nothing of it, or no more, and may admit others in its place. */
  unknown = false;
  /** When its reservation was kept alive last, and how long it is held then. */
  aliveMs = 0;
  ttlMs = 0;
  slice = 0;
  /** Tokens of the answer, as far as they came. */
  received = 0;
  /** Undefined: nothing can cut it. */
  ahead: Ahead | undefined;
  readonly #settlements: Settlements;
  readonly #onBack: (grant: HeldGrant) => void;
  #over = false;
  /** Tells the store how it ended; undefined: that has not been told, for it has not ended or leases tell it. */
  #tellEnd: (() => void) | undefined;

  /** @param onBack told when its parts are settled or given back: what was set aside changes. */
  constructor(
    requestId: string,
    consumption: Consumption,
    tokens: Tokens,
    settlements: Settlements,
    onBack: (grant: HeldGrant) => void,
  ) {
    this.requestId = requestId;
    this.consumption = consumption;
    this.tokens = tokens;
    this.#settlements = settlements;
    this.#onBack = onBack;
  }

  get mayCut(): boolean {
    return this.ahead !== undefined;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Sets aside what the request needs of the limit's lease. False: there is none that has it. */
  draw(account: Account, nowMs: number): boolean {
    const amount = neededIn(account.terms.dimension, this.tokens);
    const source = account.draw(amount, nowMs);
    if (source === undefined) return false;
    this.parts.push({ account, source, apart: true, amount, next: undefined });
    return true;
  }

  /** Gives back what was drawn: another try may follow. */
  giveBack(): void {
    for (const { source, amount } of this.parts) source?.settle(amount, 0);
    this.#onBack(this);
    this.parts.length = 0;
  }

  /** The store told what its own reservation has of each limit by now. */
  told(shares: readonly ReservedShare[]): void {
    for (const part of this.parts) {
      const share = part.apart ? undefined : shares.find(({ limitId }) => limitId === part.account.id);
      if (share) part.period = firstOf(part.period, part.account.inPeriod(Number(share.amount), share.resetTime));
    }
  }

  goesOn(outputTokens: number): boolean {
    this.received = outputTokens;
    return this.ahead === undefined || this.#over || this.ahead.goesOn(outputTokens);
  }

  settle(used: Tokens): void {
    if (this.#over) return;
    this.#over = true;
    for (const part of this.parts) settlePart(part, usedIn(part.account.terms.dimension, used));
    if (this.reserved || this.owed) {
      const settlement = {
        requestId: this.requestId,
        used: amountsOf(used),
        sequence: 1n,
        consumer: this.consumption.consumer,
        model: this.consumption.model,
        operation: this.consumption.operation,
        leasedLimitIds: this.apartIds(),
        periods: this.parts.flatMap(({ apart, period }) => (apart || !period ? [] : [period])),
      };
      this.#end(() => this.#settlements.settle(settlement));
    }
    this.#onBack(this);
  }

  release(): void {
    if (this.#over) return;
    this.#over = true;
    for (const part of this.parts) settlePart(part, 0);
    if (this.reserved) this.#end(() => this.#settlements.release(this.requestId));
    this.#onBack(this);
  }

  /**
   * The store may have set something aside for it after its end. What was told of that end is told again, which changes
   * nothing where it was heard: the store that heard it may have been another.
   */
  takeBack(): void {
    if (this.#tellEnd) this.#tellEnd();
    else this.#settlements.release(this.requestId);
  }

  #end(tell: () => void): void {
    this.#tellEnd = tell;
    tell();
  }

  rateLimits(nowMs: number): RateLimits {
    return { requests: this.#strictest("requests", nowMs), tokens: this.#strictest("tokens", nowMs) };
  }

  #strictest(kind: "requests" | "tokens", nowMs: number): RateLimit | undefined {
    let strictest: Account | undefined;
    for (const { account } of this.parts) {
      if (!isOfKind(account.terms.dimension, kind) || !account.terms.enforced) continue;
      if (strictest === undefined || leftOf(account) < leftOf(strictest)) strictest = account;
    }
    if (strictest === undefined) return undefined;
    const afterMs = Math.round(strictest.fullAfterMs(nowMs));
    const seconds = Math.floor(afterMs / 1_000);
    return {
      $typeName: "weir.router.v1.RateLimit",
      limit: BigInt(strictest.terms.whole),
      remaining: BigInt(strictest.remaining),
      resetAfter: {
        $typeName: "google.protobuf.Duration",
        seconds: BigInt(seconds),
        nanos: (afterMs - seconds * 1_000) * 1e6,
      },
    };
  }

  /** The limits that its own reservation at the store leaves out. */
  apartIds(): string[] {
    return this.parts.flatMap(({ account, apart }) => (apart ? [account.id] : []));
  }
}

/** Of what was set aside in several pieces the first are used first; the last one bears what is beyond. */
function settlePart(first: Part, used: number): void {
  let left = used;
  for (let part: Part | undefined = first; part !== undefined; part = part.next) {
    const own = part.next === undefined ? left : Math.min(left, part.amount);
    part.source?.settle(part.amount, own);
    left -= own;
  }
}

/** The earlier of two periods; of the same one what was told last. */
function firstOf(before: PeriodShare | undefined, now: PeriodShare | undefined): PeriodShare | undefined {
  if (!before?.end || !now?.end) return now ?? before;
  return timestampMs(before.end) < timestampMs(now.end) ? before : now;
}

/** Tokens as the contract has them. */
export function amountsOf({ inputTokens, outputTokens }: Tokens) {
  return { inputTokens: BigInt(Math.round(inputTokens)), outputTokens: BigInt(Math.round(outputTokens)) };
}

function isOfKind(dimension: Dimension, kind: "requests" | "tokens"): boolean {
  if (kind === "requests") return dimension === Dimension.REQUESTS;
  return (
    dimension === Dimension.INPUT_TOKENS ||
    dimension === Dimension.OUTPUT_TOKENS ||
    dimension === Dimension.TOTAL_TOKENS
  );
}

function leftOf(account: Account): number {
  return account.terms.whole > 0 ? account.remaining / account.terms.whole : 0;
}
