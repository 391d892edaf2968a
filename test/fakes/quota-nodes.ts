import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Amounts } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { reportOf } from "./quota-messages.ts";
import type { ReferenceLimit } from "./reference-limiter.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** How long the store keeps a request or a lease without a word, and what a silent node had. */
export const ttlMs = 15_000;
const suspendedMs = 300_000;
/** For so long it surely knows leases that are gone. */
const knownMs = 600_000;

/** A lease, as its node and as the store know it. */
export interface NodeLease {
  readonly id: string;
  readonly nodeId: string;
  readonly limitId: string;
  spent: bigint;
  reserved: bigint;
  sequence: bigint;
  /** What the store has lent, and been told. */
  lent: bigint;
  told: bigint;
  toldReserved: bigint;
  touchedMs: number;
  suspendedMs: number | undefined;
  /** The window that it was lent in. */
  window: number;
  /** It is not lent any more, and goes with the last of its requests. */
  ended: boolean;
  gone: boolean;
  goneMs: number;
}

/** The leases of all nodes: what their requests draw from them, and what the store has been told. */
export class NodeLeases {
  readonly #references: ReadonlyMap<string, ReferenceLimit>;
  readonly #clock: SimulatedClock;
  readonly #random: SeededRandom;
  readonly #count: (what: string) => void;
  readonly byId = new Map<string, NodeLease>();

  constructor(
    references: ReadonlyMap<string, ReferenceLimit>,
    around: { readonly clock: SimulatedClock; readonly random: SeededRandom; readonly count: (what: string) => void },
  ) {
    this.#references = references;
    this.#clock = around.clock;
    this.#random = around.random;
    this.#count = around.count;
  }

  get held(): NodeLease[] {
    return [...this.byId.values()].filter(({ gone }) => !gone);
  }

  /** Those that are gone, and that the store still knows. */
  get lately(): NodeLease[] {
    const sinceMs = this.#clock.monotonicMs() - knownMs;
    return [...this.byId.values()].filter(({ gone, goneMs }) => gone && goneMs > sinceMs);
  }

  opened(id: string, nodeId: string, limitId: string): NodeLease {
    const lease: NodeLease = {
      id,
      nodeId,
      limitId,
      spent: 0n,
      reserved: 0n,
      sequence: 0n,
      lent: 0n,
      told: 0n,
      toldReserved: 0n,
      touchedMs: 0,
      suspendedMs: undefined,
      window: this.#of(limitId).window,
      ended: false,
      gone: false,
      goneMs: 0,
    };
    this.byId.set(id, lease);
    return lease;
  }

  /** A node's requests come and go: within what it holds, and at times beyond, where answers grew. */
  spend(lease: NodeLease): void {
    const reference = this.#of(lease.limitId);
    const free = lease.lent - lease.spent - lease.reserved;
    if (free > 0n && !lease.ended) lease.reserved += BigInt(this.#random.below(Number(free) + 1));
    if (isSlots(reference)) {
      lease.reserved -= BigInt(this.#random.below(Number(lease.reserved) + 1));
      return;
    }
    const ends = BigInt(this.#random.below(Number(lease.reserved) + 1));
    lease.reserved -= ends;
    lease.spent += ends + (this.#random.below(10) === 0 && isTokens(reference) ? 25n : 0n);
  }

  /** The report of a lease, which the reference hears at once. */
  tell(lease: NodeLease, keeps: bigint, returned = false) {
    lease.sequence += 1n;
    const reference = this.#of(lease.limitId);
    const { spent, reserved } = lease;
    const { ended } = lease;
    if (lease.gone) {
      lease.gone = false;
      this.#count("taken up");
    }
    lease.ended ||= returned;
    lease.told = isSlots(reference) ? 0n : max(lease.told, spent);
    lease.toldReserved = reserved;
    const needed = lease.told + reserved;
    const kept = lease.ended || keeps < needed ? needed : keeps;
    if (kept < lease.lent) lease.lent = kept;
    lease.lent = max(lease.lent, needed);
    lease.touchedMs = this.#clock.monotonicMs();
    lease.suspendedMs = undefined;
    reference.hold(`lease:${lease.id}`, lease.lent, lease.told);
    if (ended) this.#count("heard of after its life");
    // It ended with its life: it goes with the last of its requests, and until then is not lent.
    if (lease.ended && reserved === 0n) this.#goes(lease);
    return reportOf(lease.id, lease.sequence, { spent, reserved, amount: keeps, returned });
  }

  expire(lease: NodeLease, nowMs: number): void {
    const reference = this.#of(lease.limitId);
    if (lease.gone) return;
    if (lease.suspendedMs === undefined && nowMs - lease.touchedMs >= ttlMs) {
      this.#count("suspended");
      lease.suspendedMs = lease.touchedMs + ttlMs;
      lease.ended = true;
      if (isSlots(reference)) reference.hold(`lease:${lease.id}`, 0n, 0n);
      else if (lease.lent <= lease.told && lease.toldReserved === 0n) this.#goes(lease);
    }
    if (lease.suspendedMs === undefined || nowMs - lease.suspendedMs < suspendedMs) return;
    this.#goes(lease);
    reference.hold(`lease:${lease.id}`, lease.told, lease.told);
  }

  #goes(lease: NodeLease): void {
    lease.gone = true;
    lease.goneMs = this.#clock.monotonicMs();
  }

  #of(limitId: string): ReferenceLimit {
    const found = this.#references.get(limitId);
    if (found === undefined) throw new Error(`no limit ${limitId}`);
    return found;
  }
}

function isSlots({ limit }: ReferenceLimit): boolean {
  return limit.spec?.dimension === Dimension.CONCURRENT_REQUESTS;
}

export function isTokens(one: ReferenceLimit): boolean {
  return one.limit.spec?.dimension !== Dimension.REQUESTS && !isSlots(one);
}

/** What a running request has used: it counts as a request once it has used something. */
export function soFar(one: ReferenceLimit, told: Amounts): bigint {
  if (isSlots(one)) return 0n;
  if (isTokens(one)) return one.used(told);
  return told.inputTokens > 0n || told.outputTokens > 0n ? 1n : 0n;
}

export function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
