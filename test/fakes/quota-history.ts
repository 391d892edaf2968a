import { expect } from "vitest";
import { type Limit, Overrun } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { ReserveRequest, ReserveResponse } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Amounts } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import type { IdSource } from "../../services/runtime/ids.ts";
import type { QuotaStore } from "../../services/quota/store.ts";
import { amounts, extendRequest, leaseRequest, reserveRequest, settleRequest } from "./quota-messages.ts";
import { isTokens, max, NodeLeases, soFar, ttlMs } from "./quota-nodes.ts";
import { ReferenceLimit } from "./reference-limiter.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** How long after its end a request is surely known. */
const rememberedMs = 600_000;

interface Request {
  readonly id: string;
  readonly limitIds: readonly string[];
  told: Amounts;
  touchedMs: number;
  slice: number;
  sequence: bigint;
  state: "running" | "expired" | "settled" | "released";
  endedMs: number;
}

interface Pending {
  readonly request: ReserveRequest;
  readonly asked: readonly ReferenceLimit[];
  outcome: "waiting" | "granted" | "denied";
}

/** Something that was sent, to be sent again. */
interface Sent {
  readonly atMs: number;
  readonly forMs: number;
  again(): Promise<void>;
}

const nodes = ["node-1", "node-2", "node-3"];

/**
 * A random history of several nodes at one store, which a reference follows. After each step all that the store says of
 * its limits is held against what the reference says, and each answer against what it should have been.
 */
export class QuotaHistory {
  readonly #store: QuotaStore;
  readonly #clock: SimulatedClock;
  readonly #random: SeededRandom;
  readonly #ids: IdSource;
  readonly #limits: readonly Limit[];
  readonly #references: ReadonlyMap<string, ReferenceLimit>;
  readonly #leases: NodeLeases;
  readonly #requests: Request[] = [];
  #sent: Sent[] = [];
  #pending: Pending | undefined;
  /** How often each thing happened: a history in which something never does proves nothing of it. */
  readonly counts = new Map<string, number>();

  constructor(
    store: QuotaStore,
    limits: readonly Limit[],
    around: { readonly clock: SimulatedClock; readonly random: SeededRandom; readonly ids: IdSource },
  ) {
    this.#store = store;
    this.#clock = around.clock;
    this.#random = around.random;
    this.#ids = around.ids;
    this.#limits = limits;
    const nowMs = around.clock.monotonicMs();
    this.#references = new Map(limits.map((limit) => [limit.id, new ReferenceLimit(limit, nowMs)]));
    const { clock, random } = around;
    this.#leases = new NodeLeases(this.#references, { clock, random, count: (what) => this.#count(what) });
    store.onRecall((nodeId, { leaseId }) => this.#giveBack(nodeId, leaseId));
  }

  async step(): Promise<void> {
    this.#pass();
    // Leases that are over by now are asked back before anything else happens.
    await this.#store.status([]);
    const chance = this.#random.below(100);
    if (chance < 35) await this.#reserve();
    else if (chance < 55) await this.#settle();
    else if (chance < 60) await this.#release();
    else if (chance < 68) await this.#extend();
    else if (chance < 80) await this.#lease();
    else if (chance < 88) await this.#report();
    else await this.#sendAgain();
    await this.#compare();
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #pass(): void {
    const chance = this.#random.below(200);
    const byMs = chance === 0 ? 400_000 : chance < 6 ? 20_000 : chance < 120 ? 0 : this.#random.below(1_500);
    this.#advance(byMs);
  }

  #advance(byMs: number): void {
    this.#clock.advance(byMs);
    this.#refresh();
  }

  /** Brings the reference up to the time that it is. */
  #refresh(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const reference of this.#references.values()) reference.at(nowMs, this.#clock.nowMs());
    for (const lease of this.#leases.byId.values()) this.#leases.expire(lease, nowMs);
    for (const request of this.#requests) {
      if (request.state !== "running" || nowMs - request.touchedMs < ttlMs) continue;
      this.#count("expired");
      request.state = "expired";
      request.endedMs = nowMs;
      for (const id of request.limitIds) {
        const used = soFar(this.#of(id), request.told);
        this.#of(id).hold(`share:${request.id}`, used, used);
      }
    }
  }

  async #reserve(): Promise<void> {
    const nodeId = this.#random.pick(nodes);
    const id = this.#ids.uuidv7();
    const least = amounts(this.#random.below(30), this.#random.below(3) === 0 ? this.#random.below(400) : 0);
    const estimate = amounts(Number(least.inputTokens), Number(least.outputTokens) + this.#random.below(300));
    const request = reserveRequest(id, { nodeId, estimate, least });
    await this.#send(request, this.#limits);
    this.#remember(rememberedMs, async () => {
      const known = this.#requests.find((one) => one.id === id);
      if (known === undefined || (known.state !== "running" && known.state !== "settled")) return;
      const again = await this.#store.reserve(this.#limits, request);
      expect(again.outcome.case).toBe("granted");
    });
  }

  async #send(request: ReserveRequest, limits: readonly Limit[]): Promise<void> {
    const asked = limits.map(({ id }) => this.#of(id));
    const pending: Pending = { request, asked, outcome: "waiting" };
    this.#pending = pending;
    this.#tryPending();
    const answer = this.#store.reserve(limits, request);
    // Recalled nodes have answered by now; one that has all that it holds in use may make the store wait for nothing.
    const response = await this.#settled(answer);
    if (pending.outcome === "waiting") this.#refusePending(pending);
    this.#pending = undefined;
    expect(response.outcome.case, `request ${request.requestId}`).toBe(pending.outcome);
    this.#count(pending.outcome);
    if (response.outcome.case === "denied") {
      expect(response.outcome.value.remaining).toBeLessThan(response.outcome.value.needed);
      return;
    }
    this.#requests.push({
      id: request.requestId,
      limitIds: asked.map(({ limit }) => limit.id),
      told: amounts(),
      touchedMs: this.#clock.monotonicMs(),
      slice: 0,
      sequence: 0n,
      state: "running",
      endedMs: Number.POSITIVE_INFINITY,
    });
  }

  async #settled(answer: Promise<ReserveResponse>): Promise<ReserveResponse> {
    let response: ReserveResponse | undefined;
    void answer.then((value) => {
      response = value;
    });
    await Promise.resolve();
    for (let turns = 0; turns < 20 && response === undefined; turns++) await Promise.resolve();
    if (response !== undefined) return response;
    // All that was recalled is in use, and a slot may come free in the time that a recall has.
    this.#count("waited");
    this.#advance(250);
    this.#tryPending();
    for (let turns = 0; turns < 20 && response === undefined; turns++) await Promise.resolve();
    if (response === undefined) throw new Error("the store waits longer than a recall may take");
    return response;
  }

  /** What is asked for is held as soon as all of it fits. */
  #tryPending(): void {
    const pending = this.#pending;
    if (pending?.outcome !== "waiting") return;
    const { estimate, least } = wanted(pending.request);
    const blocked = pending.asked.filter(
      (one) => one.refuses && one.needed(estimate, least) > 0n && !one.fits(one.needed(estimate, least)),
    );
    if (blocked.length > 0) return;
    this.#hold(pending, (one) => one.needed(estimate, least));
  }

  #refusePending(pending: Pending): void {
    const { estimate, least } = wanted(pending.request);
    const blocked = pending.asked.filter((one) => one.refuses && !one.fits(one.needed(estimate, least)));
    pending.outcome = "denied";
    if (blocked.every((one) => one.hasSome(least)))
      this.#hold(pending, (one) => (blocked.includes(one) ? one.remaining : one.needed(estimate, least)));
  }

  #hold(pending: Pending, units: (one: ReferenceLimit) => bigint): void {
    for (const one of pending.asked) one.hold(`share:${pending.request.requestId}`, units(one), 0n);
    pending.outcome = "granted";
  }

  #running(): Request | undefined {
    const running = this.#requests.filter(({ state }) => state === "running");
    return running.length === 0 ? undefined : this.#random.pick(running);
  }

  async #settle(): Promise<void> {
    const sinceMs = this.#clock.monotonicMs() - rememberedMs;
    const ended = this.#requests.filter(({ state, endedMs }) => state !== "released" && endedMs > sinceMs).slice(-40);
    const request = this.#random.below(5) === 0 && ended.length > 0 ? this.#random.pick(ended) : this.#running();
    if (request === undefined) return;
    request.sequence += BigInt(1 + this.#random.below(2));
    const used = amounts(this.#random.below(60), this.#random.below(500));
    const message = settleRequest(request.id, used, request.sequence);
    await this.#store.settle(this.#limits, message);
    this.#count(request.state === "settled" ? "corrected" : "settled");
    if (request.state === "running") request.endedMs = this.#clock.monotonicMs();
    request.state = "settled";
    for (const id of request.limitIds) {
      const units = this.#of(id).used(used);
      this.#of(id).hold(`share:${request.id}`, units, units);
    }
    this.#remember(rememberedMs, async () => void (await this.#store.settle(this.#limits, message)));
  }

  async #release(): Promise<void> {
    const sinceMs = this.#clock.monotonicMs() - rememberedMs;
    const expired = this.#requests.filter(({ state, endedMs }) => state === "expired" && endedMs > sinceMs);
    const request = this.#random.below(5) === 0 && expired.length > 0 ? this.#random.pick(expired) : this.#running();
    if (request === undefined) return;
    await this.#store.release({ $typeName: "weir.quota.v1.ReleaseRequest", requestId: request.id });
    request.state = "released";
    this.#count("released");
    for (const id of request.limitIds) this.#of(id).hold(`share:${request.id}`, 0n, 0n);
    this.#remember(rememberedMs, () =>
      this.#store.release({ $typeName: "weir.quota.v1.ReleaseRequest", requestId: request.id }),
    );
  }

  async #extend(): Promise<void> {
    const request = this.#running();
    if (request === undefined) return;
    const more = this.#random.below(3) === 0 ? amounts() : amounts(0, 1 + this.#random.below(200));
    const grown = amounts(
      Number(request.told.inputTokens) + this.#random.below(5),
      Number(request.told.outputTokens) + this.#random.below(80),
    );
    request.told = grown;
    request.touchedMs = this.#clock.monotonicMs();
    request.slice += 1;
    const message = extendRequest(request.id, request.slice, more, grown);
    const share = `share:${request.id}`;
    for (const id of request.limitIds) this.#of(id).hold(share, this.#of(id).heldBy(share), soFar(this.#of(id), grown));
    const units = (one: ReferenceLimit) => (one.limit.spec?.dimension && isTokens(one) ? one.reserved(more) : 0n);
    const blocked = request.limitIds.some((id) => {
      const one = this.#of(id);
      return one.refuses && cuts(one.limit) && units(one) > 0n && !one.fits(units(one));
    });
    const response = await this.#store.extend(message);
    expect(response.outcome.case).toBe(blocked ? "denied" : "granted");
    this.#count(blocked ? "slice refused" : "slice granted");
    if (blocked) return;
    for (const id of request.limitIds) {
      const one = this.#of(id);
      if (units(one) > 0n) one.hold(share, one.heldBy(share) + units(one), soFar(one, grown));
    }
    this.#remember(10_000, async () => {
      if (request.state !== "running") return expect(this.#store.extend(message)).rejects.toBeInstanceOf(WeirError);
      request.touchedMs = this.#clock.monotonicMs();
      await this.#store.extend(message);
      return undefined;
    });
  }

  async #lease(): Promise<void> {
    const nodeId = this.#random.pick(nodes);
    const own = this.#leases.held.filter((lease) => lease.nodeId === nodeId);
    const before = new Map(this.#limits.map(({ id }) => [id, this.#of(id)]));
    for (const lease of own) this.#leases.spend(lease);
    const reports = own.map((lease) => this.#leases.tell(lease, lease.lent));
    const message = leaseRequest(this.#ids.uuidv7(), {
      nodeId,
      reports,
      wanted: amounts(this.#random.below(2_000), this.#random.below(4_000)),
      requestsWanted: BigInt(1 + this.#random.below(20)),
    });
    for (const lease of own) lease.ended ||= lease.window !== this.#of(lease.limitId).window;
    const response = await this.#store.lease(this.#limits, message);
    expect(response.leases.length + response.central.length).toBe(this.#limits.length);
    for (const { id, limit, amount } of response.leases) {
      const reference = before.get(limit?.id ?? "");
      if (reference === undefined) throw new Error("a lease of another limit");
      const lease = this.#leases.byId.get(id) ?? this.#leases.opened(id, nodeId, reference.limit.id);
      const credit = max(0n, lease.lent - lease.told - lease.toldReserved);
      // A quarter of what is left at most, with what the node has already.
      const grown = max(0n, amount - lease.lent);
      if (grown > 0n) {
        expect(credit + grown).toBeLessThanOrEqual((reference.remaining + credit) / 4n);
        expect(reference.fits(grown)).toBe(true);
      }
      lease.lent = amount;
      lease.touchedMs = this.#clock.monotonicMs();
      lease.suspendedMs = undefined;
      reference.hold(`lease:${id}`, lease.lent, lease.told);
      this.#count("leased");
    }
    for (const _ of response.central) this.#count("central");
    this.#remember(20_000, async () => {
      const again = await this.#store.lease(this.#limits, message);
      for (const { id, amount } of again.leases) {
        const lease = this.#leases.byId.get(id);
        if (lease === undefined) throw new Error("a repeated call made a lease");
        expect(amount).toBe(lease.lent);
        lease.touchedMs = this.#clock.monotonicMs();
      }
    });
  }

  async #report(): Promise<void> {
    const { held, lately } = this.#leases;
    const from = lately.length > 0 && this.#random.below(6) === 0 ? lately : held;
    if (from.length === 0) return;
    const lease = this.#random.pick(from);
    this.#leases.spend(lease);
    const spendable = lease.lent - lease.spent - lease.reserved;
    const keeps = lease.spent + lease.reserved + (spendable > 0n && this.#random.below(2) ? spendable / 2n : 0n);
    const message = {
      $typeName: "weir.quota.v1.ReturnLeaseRequest" as const,
      nodeId: lease.nodeId,
      reports: [this.#leases.tell(lease, keeps, this.#random.below(2) === 0)],
    };
    await this.#store.returnLease(this.#limits, message);
    this.#count("reported");
    this.#remember(rememberedMs, () => this.#store.returnLease(this.#limits, message));
  }

  /** A recalled node keeps what runs. */
  #giveBack(nodeId: string, leaseId: string): void {
    this.#refresh();
    const lease = this.#leases.byId.get(leaseId);
    if (lease === undefined || lease.gone || lease.nodeId !== nodeId) throw new Error("a recall of no lease");
    this.#count("recalled");
    const report = this.#leases.tell(lease, lease.spent + lease.reserved, true);
    // The reference has what came back before the store hears of it, and sees whether the request fits now.
    this.#tryPending();
    const message = { $typeName: "weir.quota.v1.ReturnLeaseRequest" as const, nodeId, reports: [report] };
    void this.#store.returnLease(this.#limits, message);
  }

  #remember(forMs: number, again: () => Promise<void>): void {
    this.#sent.push({ atMs: this.#clock.monotonicMs(), forMs, again });
    if (this.#sent.length > 60) this.#sent = this.#sent.slice(-60);
  }

  /** Sends things again, in any order: none of them changes anything. */
  async #sendAgain(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    for (const sent of this.#random.shuffled(this.#sent).slice(0, 12)) {
      if (nowMs - sent.atMs >= sent.forMs) continue;
      await sent.again();
      this.#count("sent again");
    }
  }

  async #compare(): Promise<void> {
    const statuses = await this.#store.status(this.#limits);
    for (const { limit, remaining, reserved, leased } of statuses) {
      const reference = this.#of(limit?.id ?? "");
      expect({ limit: limit?.id, remaining, reserved, leased }).toEqual({
        limit: reference.limit.id,
        remaining: reference.remaining,
        reserved: reference.outstanding("share:"),
        leased: reference.outstanding("lease:"),
      });
    }
  }

  #of(limitId: string): ReferenceLimit {
    const found = this.#references.get(limitId);
    if (found === undefined) throw new Error(`no limit ${limitId}`);
    return found;
  }
}

function wanted({ estimate, least }: ReserveRequest): { estimate: Amounts; least: Amounts } {
  return { estimate: estimate ?? amounts(), least: least ?? amounts() };
}

function cuts({ spec }: Limit): boolean {
  return spec?.overrun === Overrun.CUT || (!spec?.overrun && spec?.window.case === "budget");
}
