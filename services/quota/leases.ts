import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { LeaseReport } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import { type Account, book, heldBy, moveOn, openAccount } from "./account.ts";
import type { Counter, StoreTime } from "./counter.ts";
import { type GoneLease, GoneLeases } from "./gone-leases.ts";

/** A node's account at a limit. */
export interface LeaseAccount extends Account {
  readonly id: string;
  readonly nodeId: string;
  /** What was lent in all, less what the holder gave up; what it needs, if that is more. */
  lent: bigint;
  /** What was spent of it before it was taken up, as far as a store had heard it: that is none of its concern here. */
  readonly before: bigint;
  /** The most that was reported as spent, beyond `before`. */
  told: bigint;
  /** What running requests had reserved of it by the last report. */
  reserved: bigint;
  sequence: bigint;
  touchedMs: number;
  reportedMs: number;
  /** When it was asked back, if nothing was heard since. */
  recalledMs: number | undefined;
  /** It is not lent any more: it lives on for what runs. */
  ended: boolean;
  /** It was told of when it was not known, or not any more: nothing of it is lent. */
  takenUp: boolean;
  suspendedMs: number;
}

/** How long leases live. */
export interface LeaseLives {
  readonly ttlMs: number;
  /** How long what a silent node had is kept aside for its report, once the lease is over. */
  readonly suspendedMs: number;
  /** How long those that are gone are remembered, and how many. */
  readonly goneMs: number;
  readonly goneMax: number;
  /** How many are lent at a time. Those that are taken up come on top: no more than were lent before. */
  readonly leasesMax: number;
}

/**
 * The leases of all nodes. A lease is **live** from its first grant; its node draws from it, reports and renews. It has
 * **ended** when its window has turned, when it was silent for its whole life, or when it was returned with requests
 * running: then only reports are taken, for what runs. Silent for its life, it is **suspended**: slots are free at once,
 * anything else counts as drawn until a report or for 5 min. One of which nothing was ever told is asked back then: its
 * node may not know of it, for the answer that brought it was lost. It is **gone** when nothing is held, and remembered for
 * a while.
 *
 * A newer report of one that is gone **takes it up**, as one that has ended: what was spent since counts late, and what
 * runs is held again. So does a report of one that was never heard of: a store before this one had lent it, and what that
 * one had heard is none of this one's concern. Nor is what was spent and reserved in a budget's period that is over.
 */
export class LeaseBook {
  readonly #time: StoreTime;
  readonly #newId: () => string;
  readonly #lives: LeaseLives;
  readonly #onChange: (counter: Counter) => void;
  readonly #askBack: (lease: LeaseAccount) => void;
  readonly #byId = new Map<string, LeaseAccount>();
  readonly #byNode = new Map<string, Set<LeaseAccount>>();
  readonly #gone: GoneLeases;
  /** Those that may be drawn from. */
  readonly #lent = new Map<Counter, Map<string, LeaseAccount>>();
  /** The longest untouched first. */
  readonly #touched = new Set<LeaseAccount>();
  /** The longest suspended first. */
  readonly #suspended = new Set<LeaseAccount>();
  /** Before this moment none is due: looking at a set's first costs as much as was deleted before it. */
  #dueMs = Number.NEGATIVE_INFINITY;

  /**
   * @param onChange told of counters of which something was reported or came back.
   * @param askBack told of leases that are over and that their nodes may not know.
   */
  constructor(
    time: StoreTime,
    newId: () => string,
    lives: LeaseLives,
    onChange: (counter: Counter) => void,
    askBack: (lease: LeaseAccount) => void,
  ) {
    this.#askBack = askBack;
    this.#time = time;
    this.#newId = newId;
    this.#lives = lives;
    this.#onChange = onChange;
    this.#gone = new GoneLeases(time, lives.goneMs, lives.goneMax);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Those that a node was lent here. */
  of(nodeId: string): readonly LeaseAccount[] {
    return [...(this.#byNode.get(nodeId) ?? [])].filter(({ takenUp }) => !takenUp);
  }

  /** Asks those back that are over and that the node may not know: it watches only now. */
  askBackFrom(nodeId: string): void {
    for (const lease of this.#byNode.get(nodeId) ?? []) if (lease.ended && isUnheard(lease)) this.#askBack(lease);
  }

  /** Those of a counter that may be drawn from. */
  lentOf(counter: Counter): Iterable<LeaseAccount> {
    return this.#lent.get(counter)?.values() ?? [];
  }

  /** The one that a node draws from. One of a window that is over has ended. */
  find(counter: Counter, nodeId: string): LeaseAccount | undefined {
    const lease = this.#lent.get(counter)?.get(nodeId);
    if (lease === undefined || lease.window === counter.window) return lease;
    this.#end(lease);
    return undefined;
  }

  /** Opens an empty one; undefined where there are too many already. */
  open(counter: Counter, nodeId: string): LeaseAccount | undefined {
    if (this.#byId.size >= this.#lives.leasesMax) return undefined;
    const lease = this.#begin(this.#newId(), counter, nodeId, 0n);
    entryOf(this.#lent, counter, () => new Map()).set(nodeId, lease);
    this.#add(lease);
    return lease;
  }

  /** Lends more, and lets it live on. */
  lend(lease: LeaseAccount, more: bigint): void {
    this.#touch(lease);
    if (more <= 0n) return;
    lease.lent += more;
    book(lease, lease.lent, lease.told);
  }

  /** What a lease's node could still give back. */
  creditOf(lease: LeaseAccount): bigint {
    const credit = lease.amount - lease.spent - lease.reserved;
    return credit > 0n ? credit : 0n;
  }

  /**
   * Takes a report, if it is the lease's newest.
   *
   * @param counterOf the counter of a limit; undefined: there is none.
   */
  report(nodeId: string, report: LeaseReport, counterOf: (limitId: string) => Counter | undefined): void {
    const live = this.#byId.get(report.leaseId);
    const gone = live ? undefined : this.#gone.get(report.leaseId);
    const known = live ?? gone;
    if (known !== undefined && (known.nodeId !== nodeId || report.sequence <= known.sequence)) return;
    const counter = live?.counter ?? counterOf(gone?.limitId ?? report.limitId);
    if (counter === undefined) return;
    counter.refresh();
    const lease = live ?? this.#takeUp(counter, nodeId, report, gone);
    // Told of in the next window it would be taken for one of that, and what it has left would be drawn there.
    if (lease.window !== counter.window) this.#end(lease);
    lease.sequence = report.sequence;
    lease.reportedMs = this.#time.nowMs;
    lease.recalledMs = undefined;
    lease.reserved = report.reserved;
    const spent = report.spent - lease.before;
    // Of requests at once nothing is ever spent.
    if (counter.kind !== "slots" && spent > lease.told) lease.told = spent;
    const needed = lease.told + report.reserved;
    const kept = lease.ended || report.returned || report.amount < needed ? needed : report.amount;
    // Answers that grew beyond what was lent take nothing from what others have set aside of it.
    const most = needed > lease.lent ? needed : lease.lent;
    lease.lent = kept < most ? kept : most;
    book(lease, lease.lent, lease.told);
    if (report.returned) this.#end(lease);
    if (lease.ended && report.reserved === 0n) this.#remove(lease);
    else this.#touch(lease);
    this.#onChange(counter);
  }

  /** Ends what was silent for too long. */
  expire(): void {
    const { nowMs } = this.#time;
    if (nowMs < this.#dueMs) return;
    // Whatever is touched or suspended from now on is due later than both.
    this.#dueMs = nowMs + Math.min(this.#lives.ttlMs, this.#lives.suspendedMs);
    const silent: LeaseAccount[] = [];
    for (const lease of this.#touched) {
      const dueMs = lease.touchedMs + this.#lives.ttlMs;
      if (nowMs < dueMs) {
        this.#dueMs = Math.min(this.#dueMs, dueMs);
        break;
      }
      this.#suspend(lease);
      silent.push(lease);
    }
    for (const lease of this.#suspended) {
      const dueMs = lease.suspendedMs + this.#lives.suspendedMs;
      if (nowMs < dueMs) {
        this.#dueMs = Math.min(this.#dueMs, dueMs);
        break;
      }
      lease.counter.refresh();
      this.#remove(lease);
      this.#onChange(lease.counter);
    }
    for (const lease of silent) if (this.#suspended.has(lease) && isUnheard(lease)) this.#askBack(lease);
  }

  /** A counter is no more: nor are its leases. */
  forget(counter: Counter): void {
    for (const lease of this.#byId.values()) if (lease.counter === counter) this.#remove(lease);
    this.#lent.delete(counter);
  }

  #begin(id: string, counter: Counter, nodeId: string, before: bigint): LeaseAccount {
    return openAccount(counter, "lease", {
      id,
      nodeId,
      lent: 0n,
      before,
      told: 0n,
      reserved: 0n,
      sequence: 0n,
      touchedMs: this.#time.nowMs,
      reportedMs: Number.NEGATIVE_INFINITY,
      recalledMs: undefined,
      ended: false,
      takenUp: false,
      suspendedMs: 0,
    });
  }

  #add(lease: LeaseAccount): void {
    this.#byId.set(lease.id, lease);
    entryOf(this.#byNode, lease.nodeId, () => new Set()).add(lease);
    this.#touched.add(lease);
  }

  #takeUp(counter: Counter, nodeId: string, report: LeaseReport, gone: GoneLease | undefined): LeaseAccount {
    const { leaseId, spent, reserved, heard, windowEnd } = report;
    const before = heard < spent ? heard : spent;
    const lease = this.#begin(leaseId, counter, nodeId, gone?.before ?? before);
    if (gone) {
      lease.told = gone.told;
      lease.past = gone.held;
    } else if (windowEnd && counter.hasEnded(timestampMs(windowEnd))) lease.past = spent - before + reserved;
    lease.ended = true;
    lease.takenUp = true;
    this.#add(lease);
    return lease;
  }

  #suspend(lease: LeaseAccount): void {
    lease.counter.refresh();
    this.#end(lease);
    this.#touched.delete(lease);
    moveOn(lease);
    if (lease.counter.kind === "slots") book(lease, 0n, 0n);
    else if (lease.amount <= lease.spent && lease.reserved === 0n) return this.#remove(lease);
    // Also where nobody called for long after that.
    lease.suspendedMs = lease.touchedMs + this.#lives.ttlMs;
    this.#suspended.add(lease);
    this.#onChange(lease.counter);
  }

  #touch(lease: LeaseAccount): void {
    lease.touchedMs = this.#time.nowMs;
    this.#suspended.delete(lease);
    this.#touched.delete(lease);
    this.#touched.add(lease);
  }

  #end(lease: LeaseAccount): void {
    lease.ended = true;
    const lent = this.#lent.get(lease.counter);
    if (lent?.get(lease.nodeId) === lease) lent.delete(lease.nodeId);
    if (lent?.size === 0) this.#lent.delete(lease.counter);
  }

  /** What is not spent comes back. */
  #remove(lease: LeaseAccount): void {
    this.#end(lease);
    book(lease, lease.told, lease.told);
    this.#byId.delete(lease.id);
    this.#touched.delete(lease);
    this.#suspended.delete(lease);
    const ofNode = this.#byNode.get(lease.nodeId);
    ofNode?.delete(lease);
    if (ofNode?.size === 0) this.#byNode.delete(lease.nodeId);
    const { before, told, sequence, counter, nodeId } = lease;
    this.#gone.add(lease.id, { limitId: counter.limit.id, nodeId, before, told, held: heldBy(lease), sequence });
  }
}

/** Nothing was ever told of it. */
function isUnheard({ sequence }: LeaseAccount): boolean {
  return sequence === 0n;
}

function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
