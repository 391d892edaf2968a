import { create } from "@bufbuild/protobuf";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
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
const tokens = { inputTokens: 1, outputTokens: 1 };

interface Span {
  readonly fromMs: number;
  toMs: number;
}

interface Client {
  readonly holder: QuotaHolder;
  readonly limit: Limit;
  readonly count: number;
}

/** Clients that send one request after the other against limits on requests at once, and what they met. */
export class PlacesHistory {
  readonly clock = new SimulatedClock();
  readonly random: SeededRandom;
  readonly wires: QuotaWires;
  readonly problems: string[] = [];
  /** How long after a fault everything is as it should be. */
  graceMs = 4_000;
  readonly counts = { granted: 0, refused: 0, unavailable: 0, left: 0 };
  readonly #holders: QuotaHolder[];
  readonly #spans = new Map<string, Set<Span>>();
  readonly #ids;
  /** When the last fault was over. */
  #soundMs = 0;
  #stopping = false;
  #running = 0;
  readonly #limits: readonly Limit[];

  constructor(seed: number, counts: readonly number[], nodes: number) {
    const { clock } = this;
    this.random = seededRandom(seed);
    const randomBytes = (length: number) => Buffer.from(Array.from({ length }, () => this.random.below(256)));
    const ids = createIdSource({ clock, randomBytes });
    this.#ids = ids;
    this.#limits = counts.map((count, at) =>
      limitOf(`l${at}`, {
        dimension: "DIMENSION_CONCURRENT_REQUESTS",
        count: String(count),
        rate: null,
        models: [`m${at}`],
        onFailure: ["ON_FAILURE_LOCAL", "ON_FAILURE_OPEN", "ON_FAILURE_CLOSED"][at % 3] ?? "",
      }),
    );
    this.wires = new QuotaWires({ clock, random: this.random, ids, limits: this.#limits });
    this.#holders = Array.from(
      { length: nodes },
      (_, at) =>
        new QuotaHolder({
          client: this.wires.client(),
          watch: (sink) => this.wires.watch(`n${at}`, sink),
          clock,
          ids,
          holderId: `n${at}`,
          journal: undefined,
          notes: [],
          formerRequests: [],
          news: { away: () => undefined, back: () => undefined, lost: (id) => this.problems.push(`${id} is lost`) },
        }),
    );
    for (const [at, count] of counts.entries()) {
      for (let client = 0; client <= count; client++) {
        const holder = this.#holders[client % nodes];
        const limit = this.#limits[at];
        if (holder && limit) void this.#live({ holder, limit, count });
      }
    }
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed++) {
      this.clock.advance(1);
      await turn();
    }
  }

  /** Something happens, and is over after a while. */
  async fault(): Promise<void> {
    if (this.random.below(2) === 0) {
      this.wires.kill();
      await this.pass(this.random.below(1_500));
      this.wires.start();
    } else {
      this.wires.hold();
      await this.pass(this.random.below(6_000));
      this.wires.release();
    }
    this.#soundMs = this.clock.monotonicMs();
  }

  /** Nobody sends any more: in a while everything is given back. */
  async end(): Promise<void> {
    this.#stopping = true;
    await this.pass(8_000);
    for (const limit of this.#limits) {
      const left = (await this.wires.status(limit)).remaining;
      const count = limit.spec?.ceiling.value;
      if (left !== count) this.problems.push(`${limit.id}: nothing runs, and ${left} of ${count} are left`);
    }
    if (this.#running > 0) this.problems.push(`${this.#running} clients wait`);
  }

  async #live({ holder, limit, count }: Client): Promise<void> {
    this.#running += 1;
    const model = limit.spec?.models[0] ?? "";
    const spans = this.#spans.get(limit.id) ?? new Set();
    this.#spans.set(limit.id, spans);
    await this.#sleep(this.random.below(300));
    while (!this.#stopping) {
      const askedMs = this.clock.monotonicMs();
      const answer = await this.#take(holder, model);
      const nowMs = this.clock.monotonicMs();
      if (answer === undefined) {
        this.counts.left += 1;
      } else if (answer instanceof WeirError) {
        const refused = answer.reason === ErrorReason.RATE_LIMITED;
        this.counts[refused ? "refused" : "unavailable"] += 1;
        if (askedMs >= this.#soundMs + this.graceMs && !this.wires.isFaulty) {
          if (!refused) this.problems.push(`${nowMs} ${limit.id}: can't be checked: ${answer.message}`);
          else {
            const most = mostAtOnce(spans, askedMs, nowMs);
            if (most < count)
              this.problems.push(`${nowMs} ${limit.id}: refused with ${most} of ${count} (asked ${askedMs})`);
          }
        }
        await this.#sleep(20 + this.random.below(100));
      } else {
        this.counts.granted += 1;
        const now = [...spans].filter(({ toMs }) => toMs === Number.POSITIVE_INFINITY).length;
        if (now >= count && nowMs >= this.#soundMs + this.graceMs && !this.wires.isFaulty)
          this.problems.push(`${nowMs} ${limit.id}: ${now + 1} of ${count}`);
        const span = { fromMs: nowMs, toMs: Number.POSITIVE_INFINITY };
        spans.add(span);
        await this.#sleep(this.random.below(this.random.below(4) === 0 ? 3_000 : 400));
        span.toMs = this.clock.monotonicMs();
        if (this.random.below(8) === 0) answer.release();
        else answer.settle(tokens);
        if (this.random.below(4) > 0) await this.#sleep(this.random.below(60));
      }
      for (const span of spans) if (span.toMs < this.clock.monotonicMs() - 10_000) spans.delete(span);
    }
    this.#running -= 1;
  }

  #take(holder: QuotaHolder, model: string): Promise<Grant | WeirError | undefined> {
    const { promise, resolve } = Promise.withResolvers<Grant | WeirError | undefined>();
    const taken = holder.take(
      {
        requestId: this.#ids.uuidv7(),
        principal,
        model,
        operation: Operation.GENERATE,
        expected: tokens,
        least: tokens,
      },
      { given: resolve, denied: resolve },
    );
    if (!(taken instanceof PendingGrant)) resolve(taken);
    else if (this.random.below(12) === 0) {
      void this.#sleep(this.random.below(12)).then(() => {
        taken.cancel();
        resolve(undefined);
      });
    }
    return promise;
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(ms, resolve));
  }
}

function mostAtOnce(spans: ReadonlySet<Span>, fromMs: number, toMs: number): number {
  let most = 0;
  for (const { fromMs: atMs } of [...spans, { fromMs, toMs }]) {
    const at = Math.max(atMs, fromMs);
    if (at > toMs) continue;
    most = Math.max(most, [...spans].filter((span) => span.fromMs <= at && span.toMs >= at).length);
  }
  return most;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
