import { Dimension, type Limit, LimitMode } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Amounts } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";

/** What a request was asked to be given, and what became of it. */
interface Held {
  readonly holder: string;
  /** In windows that have ended. */
  past: bigint;
  amount: bigint;
  spent: bigint;
}

/**
 * One limit, counted in the plainest way: all holdings in one list, and what is drawn as a fraction of exact whole
 * numbers. It knows no leases, no waiting and no ids; whoever uses it tells it what is held by whom.
 */
export class ReferenceLimit {
  readonly limit: Limit;
  /** In units times the nanoseconds of `per`, or units. */
  #drawn = 0n;
  #atMs: number;
  /** Which day a budget is in. */
  window = 0;
  readonly #held = new Map<string, Held>();

  constructor(limit: Limit, nowMs: number) {
    this.limit = limit;
    this.#atMs = nowMs;
  }

  get #perNs(): bigint {
    const window = this.limit.spec?.window;
    if (window?.case !== "rate") return 1n;
    return (window.value.per?.seconds ?? 0n) * 1_000_000_000n + BigInt(window.value.per?.nanos ?? 0);
  }

  get ceiling(): bigint {
    return BigInt(this.limit.spec?.ceiling.value ?? 0n);
  }

  get capacity(): bigint {
    const window = this.limit.spec?.window;
    const burst = window?.case === "rate" ? window.value.burst : 0n;
    return burst > 0n && this.ceiling > 0n ? burst : this.ceiling;
  }

  get refuses(): boolean {
    return this.limit.spec?.mode !== LimitMode.SHADOW;
  }

  /** Brings it to a moment. Budgets are of days in UTC. */
  at(nowMs: number, wallMs: number): void {
    const kind = this.limit.spec?.window.case;
    if (kind === "rate") {
      const drained = this.#drawn - this.ceiling * BigInt(nowMs - this.#atMs) * 1_000_000n;
      this.#drawn = drained > 0n ? drained : 0n;
    }
    if (kind === "budget") {
      const day = Math.floor(wallMs / 86_400_000);
      if (this.window !== 0 && day > this.window) {
        this.#drawn = 0n;
        for (const held of this.#held.values()) {
          held.past += max(held.amount, held.spent);
          held.amount = 0n;
          held.spent = 0n;
        }
      }
      this.window = Math.max(this.window, day);
    }
    this.#atMs = nowMs;
  }

  /** A holder has these in all, since it first held something. */
  hold(holder: string, amount: bigint, spent: bigint): void {
    const held = this.#held.get(holder) ?? { holder, past: 0n, amount: 0n, spent: 0n };
    this.#held.set(holder, held);
    const before = max(held.amount, held.spent);
    held.amount = max(0n, amount - held.past);
    held.spent = max(0n, spent - held.past);
    const drawn = this.#drawn + (max(held.amount, held.spent) - before) * this.#perNs;
    this.#drawn = max(0n, drawn);
  }

  heldBy(holder: string): bigint {
    const held = this.#held.get(holder);
    return held === undefined ? 0n : held.past + max(held.amount, held.spent);
  }

  /** What is held beyond what is spent, by holders whose name begins so. */
  outstanding(prefix: string): bigint {
    let sum = 0n;
    for (const { holder, amount, spent } of this.#held.values())
      if (holder.startsWith(prefix)) sum += max(amount, spent) - spent;
    return sum;
  }

  fits(units: bigint): boolean {
    return this.#drawn + units * this.#perNs <= this.capacity * this.#perNs;
  }

  /** Rounded down. */
  get remaining(): bigint {
    const left = this.capacity * this.#perNs - this.#drawn;
    const quotient = left / this.#perNs;
    return left < 0n && quotient * this.#perNs !== left ? quotient - 1n : quotient;
  }

  /** What these amounts are in its unit while a request runs. */
  reserved({ inputTokens, outputTokens }: Amounts): bigint {
    switch (this.limit.spec?.dimension) {
      case Dimension.INPUT_TOKENS:
        return inputTokens;
      case Dimension.OUTPUT_TOKENS:
        return outputTokens;
      case Dimension.TOTAL_TOKENS:
        return inputTokens + outputTokens;
      default:
        return 1n;
    }
  }

  /** What they are once it has ended. */
  used(amounts: Amounts): bigint {
    return this.limit.spec?.dimension === Dimension.CONCURRENT_REQUESTS ? 0n : this.reserved(amounts);
  }

  /** What a request takes: what it is expected to use, clipped to the limit, and what it can't do without. */
  needed(estimate: Amounts, least: Amounts): bigint {
    const expected = this.reserved(estimate);
    return max(expected < this.capacity ? expected : this.capacity, this.reserved(least));
  }

  /** Whether what is left of a budget is given to a request that wants more. */
  hasSome(least: Amounts): boolean {
    return this.limit.spec?.window.case === "budget" && this.remaining > this.reserved(least);
  }
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
