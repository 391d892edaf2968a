import type { WatchLeasesResponse } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { UsageRecord } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { WeirError } from "../../runtime/errors/fail.ts";
import type { IdSource } from "../../runtime/ids.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import { followWatch } from "../follow-watch.ts";
import { type Ask, Desk } from "./desk.ts";
import type { Account } from "./account.ts";
import type { Consumption } from "./consumption.ts";
import { type Grant, type HeldGrant, unlimited } from "./grant.ts";
import { Keeper } from "./keeper.ts";
import { LeaseBook } from "./lease-book.ts";
import { LeaseNotes, type NoteJournal } from "./lease-notes.ts";
import { PendingGrant, type Taker } from "./pending-grant.ts";
import { uncheckable } from "./refusal.ts";
import { Settlements } from "./settlements.ts";
import { type QuotaClient, StoreLink } from "./store-link.ts";

/** Sets aside what requests may use. */
export interface Quota {
  /**
   * Sets aside what a request may use, at once where this node may spend it by itself. A PendingGrant tells its taker
   * later. Who got a grant settles or releases it.
   */
  take(ask: Ask, taker: Taker): Grant | PendingGrant | WeirError;
}

/** Where nothing is limited. */
export const noQuota: Quota = { take: () => unlimited };

export interface QuotaOptions {
  readonly client: QuotaClient;
  /** Opens the watch of this node's leases. */
  readonly watch: (sink: Sink<WatchLeasesResponse>) => Cancel;
  readonly clock: Clock;
  readonly ids: Pick<IdSource, "uuidv7">;
  /** Names this process: the one before it, on the same node, was another, and its leases are not known here. */
  readonly holderId: string;
  /** Where what is spent is noted, for a service that outlives this process; undefined: it does not. */
  readonly journal: NoteJournal | undefined;
  /** What the processes before this one had noted, the oldest first. */
  readonly notes: readonly Buffer[];
  /** What it left running, and what ended last: the store may hold reservations for them. */
  readonly formerRequests: readonly UsageRecord[];
  readonly news: QuotaNews;
}

/** Requests so far, by what it took to know whether their limits have room. */
export interface QuotaCounts {
  /** No limit counts them. */
  unlimited: number;
  /** Nothing: this node had leased what they needed. */
  leased: number;
  /** A call of the quota service. */
  asked: number;
  /** It could not be asked: each limit's on_failure decided. */
  unchecked: number;
}

/** What the operator is told. */
export interface QuotaNews {
  readonly away: (error: WeirError) => void;
  readonly back: () => void;
  readonly lost: (requestId: string, error: unknown) => void;
}

/** A store that is away does not hold up a stop. */
const returnMs = 2_000;

/** The holder of this node's leases. Disposing it gives everything back that is not running. */
export class QuotaHolder implements Quota, AsyncDisposable {
  readonly counts: QuotaCounts = { unlimited: 0, leased: 0, asked: 0, unchecked: 0 };
  readonly #clock: Clock;
  readonly #desk: Desk;
  readonly #book: LeaseBook;
  readonly #settlements: Settlements;
  readonly #keeper: Keeper;
  readonly #notes: LeaseNotes | undefined;
  readonly #unfollow: () => void;
  /** Of the snapshot that comes in. */
  #named: Set<string> | undefined;
  #askedMs = 0;
  #revision = 0n;
  #storeId: string | undefined;
  /** The snapshot that comes in is another store's than the one before. */
  #anew = false;
  /** What dead processes had spent is being told. */
  #telling = false;

  constructor({ client, watch, clock, ids, holderId, journal, notes, formerRequests, news }: QuotaOptions) {
    this.#clock = clock;
    const back = (): void => {
      news.back();
      this.#settlements.again();
      this.#keeper.soon();
    };
    const link = new StoreLink({ client, clock, holderId, away: news.away, back });
    this.#book = new LeaseBook({ link, clock, ids });
    this.#settlements = new Settlements({ link, clock, lost: news.lost });
    this.#notes = journal && new LeaseNotes(journal, holderId, () => this.#leases(), notes);
    this.#desk = new Desk({
      link,
      book: this.#book,
      settlements: this.#settlements,
      clock,
      ids,
      notes: this.#notes,
    });
    this.#keeper = new Keeper(this.#desk);
    const soon = (): void => this.#keeper.soon();
    this.#desk.onFreed = soon;
    for (const record of formerRequests) this.#settlements.settleFormer(record);
    this.#unfollow = followWatch<WatchLeasesResponse>({
      clock,
      service: "quota",
      open: watch,
      begin: () => {
        this.#named = new Set();
        this.#askedMs = clock.monotonicMs();
      },
      event: (message) => this.#heard(message),
      lost: () => undefined,
    });
  }

  take(ask: Ask, taker: Taker): Grant | PendingGrant | WeirError {
    const nowMs = this.#clock.monotonicMs();
    const desk = this.#desk;
    const consumption = this.#book.consumption(ask.principal, ask.model, ask.operation, nowMs);
    consumption.count(ask.expected, nowMs);
    let { accounts } = consumption;
    if (nowMs >= consumption.untilMs || accounts === undefined) {
      if (desk.link.mayCall(nowMs)) return this.#ask(consumption, ask, taker);
      if (accounts === undefined && this.#book.goByKey(consumption)) accounts = consumption.accounts;
      if (accounts === undefined) return this.#uncheckable();
    }
    desk.keepWarm(consumption, accounts, nowMs);
    if (accounts.length === 0) {
      this.counts.unlimited += 1;
      return unlimited;
    }
    const grant = desk.open(ask, consumption);
    const missing = desk.draw(grant, accounts, nowMs);
    if (missing === undefined) {
      this.counts.leased += 1;
      return desk.finish(grant, ask);
    }
    if (desk.link.mayCall(nowMs)) {
      if (!this.#book.brings(consumption, missing)) return this.#ask(consumption, ask, taker, grant, missing);
      grant.giveBack();
      return this.#ask(consumption, ask, taker);
    }
    if (!desk.unchecked(grant, missing)) {
      grant.giveBack();
      return this.#uncheckable();
    }
    this.counts.unchecked += 1;
    return desk.finish(grant, ask);
  }

  /** Takes a call: for what the leases do not have, or for leases. */
  #ask(
    consumption: Consumption,
    ask: Ask,
    taker: Taker,
    grant?: HeldGrant,
    missing?: readonly Account[],
  ): PendingGrant {
    this.counts.asked += 1;
    const pending = new PendingGrant(this.#desk, consumption, ask, taker);
    if (grant && missing) void pending.reserve(grant, missing);
    else void pending.list();
    return pending;
  }

  #uncheckable(): WeirError {
    this.counts.unchecked += 1;
    return uncheckable();
  }

  /** Notes of the journal whose segment goes. */
  repeatNotes(): void {
    this.#notes?.repeat();
  }

  /** What the store has not heard of requests that are over. */
  get unsettled(): number {
    return this.#settlements.pending;
  }

  /** Requests with a reservation at the store. */
  get reserved(): number {
    let count = 0;
    for (const grant of this.#desk.running) if (grant.reserved) count += 1;
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unfollow();
    this.#keeper[Symbol.dispose]();
    await this.#settlements[Symbol.asyncDispose]();
    await this.#giveBackAll();
    // What nobody has heard of the next process tells, by the notes.
    if ([...this.#leases()].every(({ heard, spent, reserved }) => heard === spent && reserved === 0))
      this.#notes?.over();
  }

  async #giveBackAll(): Promise<void> {
    const leases = [...this.#book.all()];
    if (leases.length === 0 || !this.#desk.link.mayCall(this.#clock.monotonicMs())) return;
    let timer: { cancel(): void } | undefined;
    const patience = new Promise<void>((resolve) => (timer = this.#clock.setTimer(returnMs, resolve)));
    await Promise.race([this.#book.giveBack(leases.slice(0, 1_000)).catch(() => undefined), patience]);
    timer?.cancel();
  }

  *#leases() {
    for (const { lease } of this.#book.all()) yield lease;
  }

  #heard({ event, revision, nodes, storeId }: WatchLeasesResponse): void {
    this.#desk.link.heard(nodes);
    this.#countedBy(storeId);
    void this.#tellFormer();
    switch (event.case) {
      case "lease":
        this.#named?.add(event.value.id);
        break;
      case "snapshotEnd":
        // What fails counts as not told.
        if (this.#named) this.#book.snapshot(this.#named, this.#askedMs, this.#anew).catch(() => this.#keeper.soon());
        this.#keeper.soon();
        this.#named = undefined;
        this.#anew = false;
        // What changed while the watch was closed was told to nobody.
        if (revision !== this.#revision) this.#book.dropLists();
        break;
      case "recall":
        this.#book.recalled(event.value.leaseId).catch(() => this.#keeper.soon());
        break;
      case "limitChange":
        this.#book.changed(event.value, revision);
        break;
      default:
        break;
    }
    if (this.#named === undefined) this.#revision = revision;
  }

  /** A store that has started anew knows nothing of what runs. */
  #countedBy(storeId: string): void {
    if (this.#storeId === storeId) return;
    const isFirst = this.#storeId === undefined;
    this.#storeId = storeId;
    if (isFirst) return;
    this.#anew = true;
    for (const grant of this.#desk.running) if (grant.reserved) grant.unknown = true;
    this.#keeper.soon();
  }

  /** Until the store has heard all of it. */
  async #tellFormer(): Promise<void> {
    const notes = this.#notes;
    if (notes === undefined || this.#telling) return;
    this.#telling = true;
    try {
      for (let former = notes.former(); former; former = notes.former()) {
        const { holderId, reports } = former;
        await this.#desk.link.returnLease({ nodeId: holderId, reports: [...reports] });
        notes.told(former);
      }
    } catch {
      // Again with the next event of the watch, which says something twice a second.
    } finally {
      this.#telling = false;
    }
  }
}
