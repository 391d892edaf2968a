import { create } from "@bufbuild/protobuf";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type Limit, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type Grant, HeldGrant } from "../../services/router/quota/grant.ts";
import { PendingGrant } from "../../services/router/quota/pending-grant.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import { limitOf } from "./limits.ts";
import { MortalNode } from "./mortal-node.ts";
import { QuotaWires } from "./quota-wires.ts";
import { type SeededRandom, seededRandom } from "./seeded-random.ts";
import { SimulatedClock } from "./simulated-clock.ts";

const principal = create(PrincipalSchema, { orgId: "o", projectId: "p", keyId: "k" });
const dayMs = 86_400_000;

/** One request that was let through. */
interface Entry {
  readonly askedMs: number;
  readonly grantedMs: number;
  /** It was drawn from a lease, and not reserved at the store. */
  readonly leased: boolean;
  /** In the limit's unit. */
  readonly reserved: number;
  /** Undefined: it runs, or its process died while it did. */
  used: number | undefined;
  endedMs: number;
  /** When its process died. */
  diedMs: number;
}

export interface BudgetHistoryOptions {
  readonly seed: number;
  readonly nodes: number;
  /** How long before midnight it begins. */
  readonly beforeMidnightMs: number;
}

/**
 * Clients that send now and then, on some nodes, against budgets of a day that may not be spent unchecked and that are
 * scarce, with a midnight on the way. Nodes may die; what they had noted outlives them.
 */
export class BudgetHistory {
  readonly clock: SimulatedClock;
  readonly random: SeededRandom;
  readonly wires: QuotaWires;
  readonly problems: string[] = [];
  readonly counts = { granted: 0, refused: 0, unavailable: 0, leased: 0 };
  readonly nodes: readonly MortalNode[];
  readonly #ids;
  readonly #limits: readonly Limit[];
  readonly #entries: Entry[][];
  readonly #midnightMs: number;
  #running = 0;
  #stopping = false;
  #storeDiedMs = Number.NEGATIVE_INFINITY;

  constructor({ seed, nodes, beforeMidnightMs }: BudgetHistoryOptions) {
    this.clock = new SimulatedClock(Date.UTC(2026, 2, 11) - beforeMidnightMs);
    const { clock } = this;
    this.#midnightMs = beforeMidnightMs;
    this.random = seededRandom(seed);
    const randomBytes = (length: number) => Buffer.from(Array.from({ length }, () => this.random.below(256)));
    const ids = createIdSource({ clock, randomBytes });
    this.#ids = ids;
    const budget = { rate: null, budget: { period: "CALENDAR_PERIOD_DAY" }, onFailure: "ON_FAILURE_CLOSED" };
    this.#limits = [
      limitOf("l0", { ...budget, dimension: "DIMENSION_REQUESTS", count: "12", models: ["m0"] }),
      limitOf("l1", { ...budget, dimension: "DIMENSION_REQUESTS", count: "120", models: ["m1"] }),
      limitOf("l2", { ...budget, dimension: "DIMENSION_TOTAL_TOKENS", count: "20000", models: ["m2"] }),
      limitOf("l3", { ...budget, dimension: "DIMENSION_TOTAL_TOKENS", count: "100000000", models: ["m3"] }),
    ];
    this.#entries = this.#limits.map(() => []);
    this.wires = new QuotaWires({ clock, random: this.random, ids, limits: this.#limits });
    const lost = (id: string) => this.problems.push(`${id} is lost`);
    this.nodes = Array.from(
      { length: nodes },
      (_, at) => new MortalNode(`n${at}`, { clock, ids, wires: this.wires, lost }),
    );
    for (const node of this.nodes) {
      for (const at of this.#limits.keys()) for (let client = 0; client < 3; client++) void this.#live(node, at);
    }
  }

  async pass(ms: number, stepMs = 1): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.clock.advance(stepMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Nothing moves on the wires for so long. */
  async hold(ms: number): Promise<void> {
    this.wires.hold();
    await this.pass(ms);
    this.wires.release();
  }

  /** The store dies, and another one counts from nothing. */
  async killStore(): Promise<void> {
    this.wires.kill();
    this.#storeDiedMs = this.clock.monotonicMs();
    await this.pass(this.random.below(1_500));
    this.wires.start();
  }

  /** A node's process dies, and another one takes its place. */
  async killNode(): Promise<void> {
    const node = this.random.pick(this.nodes);
    node.kill();
    await this.pass(this.random.below(3_000));
    node.start();
  }

  async end(): Promise<void> {
    this.#stopping = true;
    await this.pass(9_000 + 12_000 + 9_000);
    // Until what dead processes had and nobody knows is given up.
    await this.pass(340_000, 20);
    for (const at of this.#limits.keys()) await this.#check(at);
    if (this.#running > 0) this.problems.push(`${this.#running} clients wait`);
  }

  async #check(at: number): Promise<void> {
    const limit = this.#limits[at];
    if (limit === undefined) return;
    const used = Number((await this.wires.status(limit)).used);
    const left = (await this.wires.status(limit)).leased;
    const { least, most } = this.#expected(at);
    if (used < least || used > most) this.problems.push(`${limit.id}: ${used} counted of ${least} to ${most}`);
    if (left !== 0n) this.problems.push(`${limit.id}: ${left} are leased`);
  }

  /** What the store that lives has to have counted of the day that runs. */
  #expected(at: number): { least: number; most: number } {
    const midnightMs = this.clock.monotonicMs() >= this.#midnightMs ? this.#midnightMs : Number.NEGATIVE_INFINITY;
    let [least, most] = [0, 0];
    for (const entry of this.#entries[at] ?? []) {
      const { grantedMs, askedMs, endedMs, leased, reserved, diedMs } = entry;
      const used = entry.used ?? (diedMs === Number.POSITIVE_INFINITY ? 0 : reserved);
      const today = leased ? grantedMs >= midnightMs : askedMs >= midnightMs;
      // Of what a dead process told nobody its notes tell, if the store that lent it is there.
      const certain = diedMs === Number.POSITIVE_INFINITY || (leased && this.#storeDiedMs === Number.NEGATIVE_INFINITY);
      if (today) most += used;
      if (today && certain && endedMs >= this.#storeDiedMs) least += leased && entry.used === undefined ? 0 : used;
      // Its reservation was made at midnight; or anew, by a process that died before it could tell of the first.
      if (!today && !leased && (grantedMs >= midnightMs || diedMs < Number.POSITIVE_INFINITY)) most += used;
    }
    return { least, most };
  }

  async #live(node: MortalNode, at: number): Promise<void> {
    this.#running += 1;
    await this.#sleep(this.random.below(300));
    while (!this.#stopping) {
      const alive = node.life;
      const askedMs = this.clock.monotonicMs();
      const expected = { inputTokens: 1 + this.random.below(50), outputTokens: 1 + this.random.below(300) };
      const grant = await this.#take(node, `m${at}`, expected);
      if (grant !== undefined) await this.#run(at, alive, askedMs, grant, expected);
      await this.#sleep(this.random.below(this.random.below(3) === 0 ? 12_000 : 300));
    }
    this.#running -= 1;
  }

  async #run(at: number, life: MortalNode["life"], askedMs: number, grant: Grant, expected: Tokens): Promise<void> {
    this.counts.granted += 1;
    const leased = grant instanceof HeldGrant && !grant.reserved && !grant.owed;
    if (leased) this.counts.leased += 1;
    const requests = at < 2;
    const entry: Entry = {
      askedMs,
      grantedMs: this.clock.monotonicMs(),
      leased,
      reserved: requests ? 1 : expected.inputTokens + expected.outputTokens,
      used: undefined,
      endedMs: Number.POSITIVE_INFINITY,
      diedMs: Number.POSITIVE_INFINITY,
    };
    const entries = this.#entries[at] ?? [];
    entries.push(entry);
    this.#judge(at, entry);
    life.onDeath(() => (entry.diedMs = this.clock.monotonicMs()));
    await this.#sleep(this.random.below(this.random.below(4) === 0 ? 9_000 : 400));
    if (life.dead) return;
    entry.endedMs = this.clock.monotonicMs();
    if (this.random.below(8) === 0) {
      grant.release();
      entries.splice(entries.indexOf(entry), 1);
      return;
    }
    const used = { inputTokens: expected.inputTokens, outputTokens: this.random.below(expected.outputTokens + 1) };
    entry.used = requests ? 1 : used.inputTokens + used.outputTokens;
    grant.settle(used);
  }

  /** Whether there was room for it. */
  #judge(at: number, newest: Entry): void {
    if (this.#storeDiedMs > Number.NEGATIVE_INFINITY) return;
    const dayOf = (ms: number) => Math.floor((ms - this.#midnightMs) / dayMs);
    const day = dayOf(newest.grantedMs);
    let sum = 0;
    for (const entry of this.#entries[at] ?? []) {
      if (dayOf(entry.askedMs) !== day || dayOf(entry.grantedMs) !== day) continue;
      // What a dead process had reserved at the store is given up.
      if (entry.diedMs < Number.POSITIVE_INFINITY && !entry.leased) continue;
      sum += entry.used ?? entry.reserved;
    }
    const count = Number(this.#limits[at]?.spec?.ceiling.value);
    if (sum > count) this.problems.push(`${newest.grantedMs} l${at}: ${sum} of ${count}`);
  }

  async #take(node: MortalNode, model: string, expected: Tokens) {
    const { life } = node;
    if (life.dead) return undefined;
    const { promise, resolve } = Promise.withResolvers<Grant | WeirError | undefined>();
    const request = { requestId: this.#ids.uuidv7(), principal, model, operation: Operation.GENERATE };
    const taken = life.holder.take({ ...request, expected, least: expected }, { given: resolve, denied: resolve });
    if (!(taken instanceof PendingGrant)) resolve(taken);
    else if (this.random.below(12) === 0) {
      void this.#sleep(this.random.below(12)).then(() => {
        taken.cancel();
        resolve(undefined);
      });
    }
    life.onDeath(() => resolve(undefined));
    const answer = await promise;
    if (life.dead) return undefined;
    if (!(answer instanceof WeirError)) return answer;
    this.counts[answer.reason === ErrorReason.STORE_UNAVAILABLE ? "unavailable" : "refused"] += 1;
    return undefined;
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(ms, resolve));
  }
}

interface Tokens {
  readonly inputTokens: number;
  readonly outputTokens: number;
}
