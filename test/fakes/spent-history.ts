import { create } from "@bufbuild/protobuf";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type Limit, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Grant } from "../../services/router/quota/grant.ts";
import { PendingGrant } from "../../services/router/quota/pending-grant.ts";
import { QuotaHolder } from "../../services/router/quota/quota.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import { limitOf } from "./limits.ts";
import { QuotaWires } from "./quota-wires.ts";
import { type SeededRandom, seededRandom } from "./seeded-random.ts";
import { SimulatedClock } from "./simulated-clock.ts";

const principal = create(PrincipalSchema, { orgId: "o", projectId: "p", keyId: "k" });
const clientsOfEach = 4;

interface Spent {
  readonly endedMs: number;
  readonly tokens: number;
}

/**
 * Clients that send now and then, on some nodes, against budgets of tokens that never end; and what they used. At half of
 * the budgets nobody says how long an answer may get.
 */
export class SpentHistory {
  readonly clock = new SimulatedClock(Date.UTC(2026, 2, 10));
  readonly random: SeededRandom;
  readonly wires: QuotaWires;
  readonly problems: string[] = [];
  readonly #ids;
  readonly #limits: readonly Limit[];
  readonly #spent: Spent[][];
  #running = 0;
  #stopping = false;
  /** When a store died last: it has heard of nothing that ended later. */
  #diedMs = 0;

  constructor(seed: number, nodes: number) {
    const { clock } = this;
    this.random = seededRandom(seed);
    const randomBytes = (length: number) => Buffer.from(Array.from({ length }, () => this.random.below(256)));
    const ids = createIdSource({ clock, randomBytes });
    this.#ids = ids;
    const modes = ["ON_FAILURE_LOCAL", "ON_FAILURE_OPEN", "ON_FAILURE_CLOSED"];
    this.#limits = [...modes, ...modes].map((onFailure, at) =>
      limitOf(`l${at}`, {
        dimension: "DIMENSION_TOTAL_TOKENS",
        count: "1000000000",
        rate: null,
        budget: { period: "CALENDAR_PERIOD_MONTH" },
        overrun: at < modes.length ? "OVERRUN_DEBT" : "OVERRUN_CUT",
        models: [`m${at}`],
        onFailure,
      }),
    );
    this.#spent = this.#limits.map(() => []);
    this.wires = new QuotaWires({ clock, random: this.random, ids, limits: this.#limits });
    for (let node = 0; node < nodes; node++) {
      const holder = new QuotaHolder({
        client: this.wires.client(),
        watch: (sink) => this.wires.watch(`n${node}`, sink),
        clock,
        ids,
        holderId: `n${node}`,
        journal: undefined,
        notes: [],
        formerRequests: [],
        news: { away: () => undefined, back: () => undefined, lost: (id) => this.problems.push(`${id} is lost`) },
      });
      for (const at of this.#limits.keys()) {
        for (let client = 0; client < clientsOfEach; client++) void this.#live(holder, at);
      }
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
    await this.pass(ms, ms > 20_000 ? 20 : 1);
    this.wires.release();
  }

  /** The store dies, and another one counts from nothing. */
  async kill(): Promise<void> {
    this.wires.kill();
    this.#diedMs = this.clock.monotonicMs();
    await this.pass(this.random.below(1_500));
    this.wires.start();
  }

  /** Nobody sends any more: in a while all that was used is told. */
  async end(): Promise<void> {
    this.#stopping = true;
    // The longest request, the longest pause after it, and until what is idle is given back.
    await this.pass(9_000 + 12_000 + 9_000);
    for (const [at, limit] of this.#limits.entries()) {
      const used = Number((await this.wires.status(limit)).used);
      const all = sumOf(this.#spent[at] ?? []);
      // What a store that died had heard is gone with it.
      const own = sumOf((this.#spent[at] ?? []).filter(({ endedMs }) => endedMs >= this.#diedMs));
      if (used < own || used > all) this.problems.push(`${limit.id}: ${used} counted of ${own} to ${all}`);
    }
    if (this.#running > 0) this.problems.push(`${this.#running} clients wait`);
  }

  async #live(holder: QuotaHolder, at: number): Promise<void> {
    this.#running += 1;
    await this.#sleep(this.random.below(300));
    while (!this.#stopping) {
      await (at < this.#limits.length / 2 ? this.#plain(holder, at) : this.#unstated(holder, at));
      // Often nobody sends for long enough that leases are given back.
      await this.#sleep(this.random.below(this.random.below(3) === 0 ? 12_000 : 300));
    }
    this.#running -= 1;
  }

  async #plain(holder: QuotaHolder, at: number): Promise<void> {
    const expected = { inputTokens: 1 + this.random.below(50), outputTokens: 1 + this.random.below(300) };
    const grant = await this.#take(holder, `m${at}`, expected);
    if (grant === undefined) return;
    await this.#sleep(this.random.below(this.random.below(4) === 0 ? 9_000 : 400));
    if (this.random.below(8) === 0) grant.release();
    else this.#settle(grant, at, { inputTokens: expected.inputTokens, outputTokens: this.random.below(350) });
  }

  /** Nobody said how long the answer may get: slices are drawn for it while it grows. */
  async #unstated(holder: QuotaHolder, at: number): Promise<void> {
    const least = { inputTokens: 1 + this.random.below(50), outputTokens: 0 };
    const grant = await this.#take(holder, `m${at}`, { ...least, outputTokens: 256 }, least);
    if (grant === undefined) return;
    const all = this.random.below(3_000);
    const pieceMs = 1 + this.random.below(80);
    let received = 0;
    while (received < all && grant.goesOn(received)) {
      await this.#sleep(pieceMs);
      received += 1 + this.random.below(40);
    }
    this.#settle(grant, at, { inputTokens: least.inputTokens, outputTokens: received });
  }

  #settle(grant: Grant, at: number, used: Tokens): void {
    grant.settle(used);
    const tokens = used.inputTokens + used.outputTokens;
    this.#spent[at]?.push({ endedMs: this.clock.monotonicMs(), tokens });
  }

  async #take(holder: QuotaHolder, model: string, expected: Tokens, least = expected) {
    const { promise, resolve } = Promise.withResolvers<Grant | WeirError | undefined>();
    const request = { requestId: this.#ids.uuidv7(), principal, model, operation: Operation.GENERATE };
    const taken = holder.take({ ...request, expected, least }, { given: resolve, denied: resolve });
    if (!(taken instanceof PendingGrant)) resolve(taken);
    else if (this.random.below(12) === 0) {
      void this.#sleep(this.random.below(12)).then(() => {
        taken.cancel();
        resolve(undefined);
      });
    }
    const answer = await promise;
    return answer instanceof WeirError ? undefined : answer;
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(ms, resolve));
  }
}

interface Tokens {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

function sumOf(spent: readonly Spent[]): number {
  return spent.reduce((sum, { tokens }) => sum + tokens, 0);
}
