import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Dimension, Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Consumer } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import type { Account } from "./account.ts";
import type { Tokens } from "./terms.ts";

/** How long a lease lives: what is wanted of it is what is used in that time. */
const leaseMs = 15_000;
/** Over less time than that, what was used says little. */
const measuredMsMin = 1_000;

/** What one consumer does with one model, and by which limits it is counted. */
export class Consumption {
  readonly consumer: Consumer;
  readonly model: string;
  readonly operation: Operation;
  /** Limits that count it; undefined: not known so far. */
  accounts: readonly Account[] | undefined;
  /** Until when the list of them holds. */
  untilMs = 0;
  /** From when on it is asked for anew, in the background. */
  renewFromMs = 0;
  /** Changed when the list is to be asked for anew: an answer to an older call is not the last word. */
  epoch = 0;
  usedMs: number;
  /** The most tokens that the limits could ever give to an answer alone, and to it with its prompt. */
  #answerWhole = Number.POSITIVE_INFINITY;
  #totalWhole = Number.POSITIVE_INFINITY;
  /** Since the last call. */
  #requests = 0;
  #inputTokens = 0;
  #outputTokens = 0;
  #sinceMs: number;

  constructor(principal: Principal, model: string, operation: Operation, nowMs: number) {
    this.consumer = {
      $typeName: "weir.quota.v1.Consumer",
      orgId: principal.orgId,
      projectId: principal.projectId,
      keyId: principal.keyId,
      // Keys belong to nobody in person so far.
      userId: "",
    };
    this.model = model;
    this.operation = operation;
    this.usedMs = nowMs;
    this.#sinceMs = nowMs;
  }

  /** The list came. */
  listed(accounts: readonly Account[], untilMs: number, renewFromMs: number): void {
    this.accounts = accounts;
    this.untilMs = untilMs;
    this.renewFromMs = renewFromMs;
    this.#answerWhole = leastWhole(accounts, Dimension.OUTPUT_TOKENS);
    this.#totalWhole = leastWhole(accounts, Dimension.TOTAL_TOKENS);
  }

  /** The list is to be asked for before the next request. */
  drop(): void {
    this.epoch += 1;
    this.untilMs = 0;
  }

  /** An answer whose length nobody stated gets at most what the limits hold as a whole. */
  fitted(tokens: Tokens, outputStated: number): Tokens {
    const { inputTokens, outputTokens } = tokens;
    if (outputStated > 0) return tokens;
    // Where nothing fits one does not either, or the limits that allow none would have nothing to refuse.
    const most = Math.max(1, Math.min(this.#answerWhole, this.#totalWhole - inputTokens));
    return outputTokens <= most ? tokens : { inputTokens, outputTokens: most };
  }

  /** A request wants this. */
  count({ inputTokens, outputTokens }: Tokens, nowMs: number): void {
    this.usedMs = nowMs;
    this.#requests += 1;
    this.#inputTokens += inputTokens;
    this.#outputTokens += outputTokens;
  }

  /** What it will want in the life of a lease if it goes on so; counting begins anew. */
  wanted(nowMs: number): { readonly requests: number; readonly tokens: Tokens } {
    const factor = leaseMs / Math.max(measuredMsMin, nowMs - this.#sinceMs);
    const many = (count: number) => Math.min(1e9, Math.ceil(count * factor));
    const requests = Math.min(1e6, Math.max(1, many(this.#requests)));
    const tokens = { inputTokens: many(this.#inputTokens), outputTokens: many(this.#outputTokens) };
    this.#requests = this.#inputTokens = this.#outputTokens = 0;
    this.#sinceMs = nowMs;
    return { requests, tokens };
  }
}

function leastWhole(accounts: readonly Account[], dimension: Dimension): number {
  let least = Number.POSITIVE_INFINITY;
  for (const { terms } of accounts) {
    if (terms.dimension === dimension && terms.enforced) least = Math.min(least, terms.whole);
  }
  return least;
}
