import { LRUCache } from "lru-cache";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { LeaseReport, LimitChange } from "../../../gen/ts/weir/quota/v1/lease_pb.ts";
import { type Limit, type Operation, type Subject, SubjectKind } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { LeaseResponse } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Consumer } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { allows } from "../../runtime/identity/allow.ts";
import type { IdSource } from "../../runtime/ids.ts";
import { Account } from "./account.ts";
import { Consumption } from "./consumption.ts";
import { amountsOf } from "./grant.ts";
import { type HeldLease, lastReport, msOf } from "./held-lease.ts";
import type { StoreLink } from "./store-link.ts";

export interface LeaseBookOptions {
  readonly link: StoreLink;
  readonly clock: Clock;
  readonly ids: Pick<IdSource, "uuidv7">;
}

/** A lease, and whose it is. */
export interface GivenBack {
  readonly account: Account;
  readonly lease: HeldLease;
}

/** Keys times models that are remembered: beyond it those that were not seen for the longest are asked for anew. */
const consumptionsMax = 20_000;
/** Keys whose limits are remembered for a time without the store. */
const keysMax = 20_000;
/** Answers that may still bring a lease that was recalled. */
const refusedMax = 10_000;
/** The contract takes as many reports with a call for more; the keeper tells the others. */
const dueMax = 256;
/** As many in a call that only reports. */
export const reportsMax = 1_000;
/** Who found nothing more to have does not ask again at once. */
const renewalPauseMs = 50;

/** What this node may spend by itself: its accounts, one a limit, and who is counted by which of them. */
export class LeaseBook {
  readonly accounts = new Map<string, Account>();
  readonly #options: LeaseBookOptions;
  readonly #consumptions = new LRUCache<string, Consumption>({ max: consumptionsMax });
  /** Every limit of a key that a call of it has told of, and when the call was sent. */
  readonly #ofKeys = new LRUCache<string, { readonly limits: readonly Limit[]; readonly sentMs: number }>({
    max: keysMax,
  });
  /** Calls on their way: one for each. */
  readonly #calls = new Map<Consumption, Promise<void>>();
  readonly #pausedUntil = new WeakMap<Consumption, number>();
  /** Leases that were given back before an answer brought them. */
  readonly #refused = new LRUCache<string, true>({ max: refusedMax });
  /** When a change of a limit was told of last. */
  #changedMs = Number.NEGATIVE_INFINITY;

  constructor(options: LeaseBookOptions) {
    this.#options = options;
  }

  /** What a principal does with a model. */
  consumption(principal: Principal, model: string, operation: Operation, nowMs: number): Consumption {
    const key = `${principal.keyId} ${operation} ${model}`;
    const known = this.#consumptions.get(key);
    if (known?.consumer.projectId === principal.projectId) return known;
    const made = new Consumption(principal, model, operation, nowMs);
    this.#consumptions.set(key, made);
    return made;
  }

  /**
   * Nothing can be asked: who has not been asked about is counted by what was told of the same key with other models.
   * The list holds until the store can be asked. False: the key is not known either.
   */
  goByKey(consumption: Consumption): boolean {
    const told = this.#ofKeys.get(consumption.consumer.keyId);
    if (told === undefined) return false;
    const nowMs = this.#options.clock.monotonicMs();
    const counting = told.limits.filter((limit) => counts(limit, consumption));
    consumption.listed(
      counting.map((limit) => this.#account(limit, 0, told.sentMs)),
      nowMs,
      nowMs,
    );
    return true;
  }

  /** Waits for the calls on their way that may bring something of a limit, however they end. */
  async callsFor(account: Account): Promise<void> {
    // What a first call will bring is not known.
    const calls = [...this.#calls].filter(([{ accounts }]) => accounts === undefined || accounts.includes(account));
    await Promise.allSettled(calls.map(([, call]) => call));
  }

  /** The leases of these limits for which no more is on its way: that would be taken back by what is told of them. */
  settledLeases(accounts: readonly Account[]): HeldLease[] {
    const renewed = new Set([...this.#calls.keys()].flatMap((consumption) => consumption.accounts ?? []));
    return dueOf(accounts.filter((account) => !renewed.has(account)));
  }

  /** Whether a call on its way may bring what a consumer is missing. */
  brings(consumption: Consumption, missing: readonly Account[]): boolean {
    return this.#calls.has(consumption) && missing.some(({ central }) => !central);
  }

  /** Asks for leases, or for more of them, and for the list of limits. One call is on its way at a time. */
  ask(consumption: Consumption): Promise<void> {
    const running = this.#calls.get(consumption);
    if (running) return running;
    const call = this.#ask(consumption).finally(() => this.#calls.delete(consumption));
    this.#calls.set(consumption, call);
    return call;
  }

  /** Asks in the background, unless that has just been done. */
  renew(consumption: Consumption, nowMs: number): void {
    if (this.#calls.has(consumption) || nowMs < (this.#pausedUntil.get(consumption) ?? 0)) return;
    if (!this.#options.link.mayCall(nowMs)) return;
    this.#pausedUntil.set(consumption, nowMs + renewalPauseMs);
    this.ask(consumption).catch(() => undefined);
  }

  async #ask(consumption: Consumption): Promise<void> {
    const { link, clock, ids } = this.#options;
    const sentMs = clock.monotonicMs();
    const { epoch, consumer, model, operation } = consumption;
    const { requests, tokens } = consumption.wanted(sentMs);
    const leases = dueOf(consumption.accounts ?? []);
    const response = await this.telling(leases, false, (reports) =>
      link.lease({
        requestId: ids.uuidv7(),
        nodeId: link.holderId,
        consumer,
        model,
        operation,
        wanted: amountsOf(tokens),
        requestsWanted: BigInt(requests),
        reports,
      }),
    );
    this.#apply(consumption, response, sentMs);
    if (consumption.epoch !== epoch) consumption.untilMs = 0;
  }

  /**
   * Tells the store how leases stand, with some call. If it fails they count as not told, and not as not heard: the next
   * reports say so, and a store that was told goes by the whole that each of them names. Of a lease one report is on its
   * way at a time, and others are left out: a newer one knows nothing of what the call with the older one brings, and
   * would take it back. Of one that is given back nothing is to be brought.
   */
  async telling<T>(
    leases: readonly HeldLease[],
    givesUp: boolean,
    call: (reports: LeaseReport[]) => Promise<T>,
  ): Promise<T> {
    const nowMs = this.#options.clock.monotonicMs();
    const told = leases
      .filter(({ reporting, retired }) => reporting === 0 || retired)
      .map((lease) => ({ lease, report: lease.report(givesUp, nowMs) }));
    for (const { lease } of told) lease.reporting += 1;
    try {
      const answer = await call(told.map(({ report }) => report));
      for (const { lease, report } of told) lease.answered(report);
      return answer;
    } catch (error) {
      for (const { lease } of told) lease.tellAgain();
      throw error;
    } finally {
      for (const { lease } of told) lease.reporting -= 1;
    }
  }

  #apply(consumption: Consumption, response: LeaseResponse, sentMs: number): void {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const nowWallMs = clock.nowMs();
    const holders = response.holders || 1;
    const accounts: Account[] = [];
    for (const lease of response.leases) {
      if (!lease.limit) throw fail(ErrorReason.INTERNAL);
      const account = this.#account(lease.limit, holders, sentMs);
      if (!this.#refused.has(lease.id)) account.leased(lease, sentMs, nowMs, nowWallMs);
      accounts.push(account);
    }
    for (const limit of response.central) {
      const account = this.#account(limit, holders, sentMs);
      account.central = true;
      accounts.push(account);
    }
    const ttlMs = msOf(response.ttl);
    const counting = accounts.map(({ terms }) => terms.limit);
    this.#ofKeys.set(consumption.consumer.keyId, { limits: [...counting, ...response.elsewhere], sentMs });
    consumption.listed(accounts, sentMs + ttlMs, sentMs + (ttlMs * 2) / 3);
  }

  /** @param holders 0: not known anew. */
  #account(limit: Limit, holders: number, sentMs: number): Account {
    const known = this.accounts.get(limit.id);
    const account = known ?? new Account(limit, this.#options.clock.monotonicMs(), this.#changedMs);
    if (!known) this.accounts.set(limit.id, account);
    account.learn(limit, sentMs);
    if (holders > 0) account.holders = holders;
    return account;
  }

  /** A limit was made, changed or deleted. */
  changed({ limitId, subject, deleted }: LimitChange, revision: bigint): void {
    const account = this.accounts.get(limitId);
    this.#changedMs = this.#options.clock.monotonicMs();
    account?.changed(revision, this.#changedMs);
    if (deleted) {
      this.accounts.delete(limitId);
      for (const [keyId, { limits, sentMs }] of this.#ofKeys.entries()) {
        if (limits.some(({ id }) => id === limitId))
          this.#ofKeys.set(keyId, { limits: limits.filter(({ id }) => id !== limitId), sentMs });
      }
    }
    for (const consumption of this.#consumptions.values()) {
      const counted = account !== undefined && consumption.accounts?.includes(account);
      if (counted || !subject || concerns(subject, consumption.consumer)) consumption.drop();
    }
  }

  /** Nobody knows what changed: every list is asked for anew. */
  dropLists(): void {
    for (const consumption of this.#consumptions.values()) consumption.drop();
  }

  /**
   * The store told of every lease that it has lent to this node: those made before, and not among them, are lost. What it
   * does not know of them is told at once, whatever else is on its way: it may be on its way to a store that is no more.
   *
   * @param askedMs when the watch was opened. A lease that was on its way then may have been made behind the snapshot.
   * @param anew it is another store than the one before, which had made what was on its way.
   */
  async snapshot(leaseIds: ReadonlySet<string>, askedMs: number, anew: boolean): Promise<void> {
    const lost: GivenBack[] = [];
    for (const account of this.accounts.values()) {
      for (const lease of account.leases()) {
        const madeMs = anew ? lease.askedMs : lease.heldMs;
        if (madeMs >= askedMs || leaseIds.has(lease.id)) continue;
        account.lost(lease);
        // One whose call was on its way may have been made behind the snapshot: then others wait for what it has.
        if (lease.untold || lease.heldMs >= askedMs) lost.push({ account, lease });
      }
    }
    const calls: Promise<void>[] = [];
    for (let at = 0; at < lost.length; at += reportsMax) calls.push(this.giveBack(lost.slice(at, at + reportsMax)));
    await Promise.all(calls);
  }

  /** Others need a lease: gives back what is not reserved, at once. */
  async recalled(leaseId: string): Promise<void> {
    for (const account of this.accounts.values()) {
      for (const lease of account.leases()) if (lease.id === leaseId) return this.giveBack([{ account, lease }]);
    }
    // The call that brought it was given up, or its answer is on its way: nothing runs on it, and nothing will.
    this.#refused.set(leaseId, true);
    const { link } = this.#options;
    await link.returnLease({ nodeId: link.holderId, reports: [lastReport(leaseId, 0n)] });
  }

  /** Gives back what is not reserved of these, and tells what was spent: nothing more is drawn from them. */
  async giveBack(given: readonly GivenBack[]): Promise<void> {
    for (const { account, lease } of given) if (account.lease === lease) account.retire();
    const leases = given.map(({ lease }) => lease);
    await this.telling(leases, true, (reports) => this.#return(reports));
  }

  /** Tells what was spent of these, and keeps the rest. */
  async tell(leases: readonly HeldLease[]): Promise<void> {
    await this.telling(leases, false, (reports) => this.#return(reports));
  }

  async #return(reports: LeaseReport[]): Promise<void> {
    const { link } = this.#options;
    // Of each there may be a report on its way.
    if (reports.length > 0) await link.returnLease({ nodeId: link.holderId, reports });
  }

  /** Every lease that something is to be told of. */
  *all(): Generator<GivenBack> {
    for (const account of this.accounts.values()) for (const lease of account.leases()) yield { account, lease };
  }

  /** Forgets who was not seen for so long, and accounts that nothing hangs on. */
  forget(unusedSinceMs: number): void {
    const nowMs = this.#options.clock.monotonicMs();
    const used = new Set<Account>();
    for (const [key, consumption] of this.#consumptions.entries()) {
      if (consumption.usedMs < unusedSinceMs) this.#consumptions.delete(key);
      else for (const account of consumption.accounts ?? []) used.add(account);
    }
    for (const [id, account] of this.accounts)
      if (!used.has(account) && account.isEmpty(nowMs)) this.accounts.delete(id);
  }
}

function dueOf(accounts: readonly Account[]): HeldLease[] {
  return accounts.flatMap((account) => [...account.due()]).slice(0, dueMax);
}

function counts({ spec }: Limit, { model, operation }: Consumption): boolean {
  const [names, operations] = [spec?.models ?? [], spec?.operations ?? []];
  return (
    allows({ all: names.length === 0, names }, model) && (operations.length === 0 || operations.includes(operation))
  );
}

function concerns({ kind, id }: Subject, consumer: Consumer): boolean {
  switch (kind) {
    case SubjectKind.ORG:
      return consumer.orgId === id;
    case SubjectKind.PROJECT:
      return consumer.projectId === id;
    case SubjectKind.USER:
      return consumer.userId === id;
    case SubjectKind.KEY:
      return consumer.keyId === id;
    default:
      return true;
  }
}
