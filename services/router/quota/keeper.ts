import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Account } from "./account.ts";
import type { Desk } from "./desk.ts";
import { amountsOf, type HeldGrant } from "./grant.ts";
import type { HeldLease } from "./held-lease.ts";
import { type GivenBack, reportsMax } from "./lease-book.ts";
import { Places } from "./places.ts";

/** How often it looks. */
const lookMs = 1_000;
/** What can't wait for that is told together with what ends in so long: nobody notices it in the 250 ms of a recall. */
const soonMs = 20;
/** A limit that nobody drew from for this long is given back: the next request asks for it anew. */
const idleMs = 5_000;
/** What runs on a lease keeps it alive by being told of, well within the 15 s that one lives. */
const tellMs = 4_000;
/** Consumers who were not seen for so long are asked for anew. */
const forgetMs = 300_000;
/** A call for leases waits for 1 s. */
const answersMs = 3_000;
/** A reservation is kept alive three times in its life. */
const aliveShare = 1 / 3;

/**
 * Keeps what is held in order, once a second: gives back what nobody draws from, tells of leases that are over until the
 * store knows all of them, keeps alive what runs, tells of what runs that the store does not know, and forgets who was
 * not seen.
 */
export class Keeper implements Disposable {
  readonly #desk: Desk;
  readonly #clock: Clock;
  readonly #places: Places;
  #timer: Timer;
  /** Fires before the next look. */
  #hasty: Timer | undefined;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #telling = false;
  /** There is more to tell than the round knows that is under way. */
  #moreToTell = false;
  #disposed = false;

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#clock = desk.clock;
    this.#places = new Places(desk);
    this.#timer = this.#next();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer.cancel();
    this.#hasty?.cancel();
  }

  /**
   * Something ended on a lease that is given back, or can be told again: it is told at once, for others may wait for it.
   * When a store has started anew all that runs may be on such leases: ends that follow each other are told together.
   */
  soon(): void {
    if (this.#hasty || this.#disposed) return;
    const delayMs = Math.max(0, this.#lookedMs + soonMs - this.#clock.monotonicMs());
    this.#hasty = this.#clock.setTimer(delayMs, () => {
      this.#hasty = undefined;
      this.#look(this.#clock.monotonicMs());
    });
  }

  #next(): Timer {
    return this.#clock.setTimer(lookMs, () => {
      this.#timer = this.#next();
      const nowMs = this.#clock.monotonicMs();
      this.#keepAlive(nowMs);
      this.#desk.book.forget(nowMs - forgetMs);
      this.#look(nowMs);
    });
  }

  #look(nowMs: number): void {
    this.#lookedMs = nowMs;
    if (!this.#desk.link.mayCall(nowMs)) return;
    this.#places.look(nowMs);
    if (this.#telling) this.#moreToTell = true;
    else void this.#tell(nowMs);
  }

  #keepAlive(nowMs: number): void {
    for (const grant of this.#desk.running) {
      if (grant.reserved && !grant.unknown && grant.ttlMs > 0 && nowMs - grant.aliveMs >= grant.ttlMs * aliveShare)
        void this.#extend(grant, nowMs);
    }
  }

  async #extend(grant: HeldGrant, nowMs: number): Promise<void> {
    const before = grant.aliveMs;
    grant.aliveMs = nowMs;
    grant.slice += 1;
    const used = { inputTokens: grant.tokens.inputTokens, outputTokens: grant.received };
    try {
      await this.#desk.link.extend({
        requestId: grant.requestId,
        slice: grant.slice,
        more: {},
        used: amountsOf(used),
      });
    } catch (thrown) {
      // Again at the next look.
      grant.aliveMs = before;
      if (weirErrorFrom(thrown).reason === ErrorReason.NOT_FOUND) grant.unknown = true;
    }
  }

  /** One round of reports at a time: the next looks again. */
  async #tell(nowMs: number): Promise<void> {
    this.#telling = true;
    this.#moreToTell = false;
    try {
      const kept: HeldLease[] = [];
      const given: GivenBack[] = [];
      for (const account of this.#desk.book.accounts.values()) sort(account, nowMs, kept, given);
      for (let at = 0; at < given.length; at += reportsMax) {
        await this.#desk.book.giveBack(given.slice(at, at + reportsMax));
      }
      for (let at = 0; at < kept.length; at += reportsMax) await this.#desk.book.tell(kept.slice(at, at + reportsMax));
      const toldMs = this.#clock.monotonicMs();
      for (const account of this.#desk.book.accounts.values()) drop(account, toldMs);
    } catch {
      // They count as not told: the next round tells them.
    } finally {
      this.#telling = false;
      if (this.#moreToTell) this.soon();
    }
  }
}

/** Which leases of an account are to be told of, and which of them are given back. */
function sort(account: Account, nowMs: number, kept: HeldLease[], given: GivenBack[]): void {
  const { lease } = account;
  for (const former of account.former)
    if (former.untold || staleAt(former, nowMs)) given.push({ account, lease: former });
  if (lease === undefined) return;
  const unused = nowMs - account.usedMs >= idleMs || nowMs >= lease.spendableUntilMs;
  if (unused && (lease.credit > 0 || lease.untold || staleAt(lease, nowMs))) given.push({ account, lease });
  else if (!unused && staleAt(lease, nowMs)) kept.push(lease);
}

function staleAt(lease: HeldLease, nowMs: number): boolean {
  return lease.reserved > 0 && nowMs - lease.toldMs >= tellMs;
}

/**
 * Leases of which the store knows all, and on which nothing runs, are over. They are remembered for as long as an answer
 * may come in that the store gave before: it would be taken for a new lease, of which the store knows nothing.
 */
function drop(account: Account, nowMs: number): void {
  for (const former of account.former) {
    if (former.reserved > 0 || former.untold || former.reporting > 0) continue;
    former.overMs ??= nowMs;
    if (nowMs - former.overMs >= answersMs) account.former.delete(former);
  }
}
