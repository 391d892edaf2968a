import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Started } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { Counts } from "../drivers/events.ts";
import { fail, WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { Sink } from "../runtime/mesh/push.ts";
import type { Rostered } from "../runtime/roster.ts";
import type { Seat } from "./fleet/seat.ts";
import type { LifecycleDeps } from "./generation-deps.ts";
import { entryFor } from "./models.ts";
import { type Placed, Placement } from "./placement.ts";
import type { PoolPlan } from "./plan.ts";
import type { Examined } from "./quarantine/examination.ts";
import { type Grant, unlimited } from "./quota/grant.ts";
import { PendingGrant, type Taker } from "./quota/pending-grant.ts";
import type { RequestKind } from "./request-kind.ts";
import { startedOf } from "./response.ts";
import { type Tried, Tries } from "./tries.ts";
import { HeldSink } from "./usage/held-sink.ts";
import type { RequestUsage } from "./usage/request-usage.ts";

/**
 * One request, from its arrival to its end, whatever it asks for: what its kind does differently is behind `RequestKind`.
 * It is always in one of these phases:
 *
 * - **admitting**: the model is looked up, the request held against the key's and the pool's rules: what is wrong with it is
 *   told by `sink.fail`, and no engine hears of it. All at once, but where the quarantine has to look at what is asked.
 * - **reserving**: what it may use is set aside on the limits that count it; at once where this node may spend it by
 *   itself, else the quota service is asked. Refused: *ended*, without a trace in the ledger. Granted: from here on it
 *   is admitted. If a place at a replica is free it is taken and the request goes on to *trying*, else to *waiting*.
 * - **waiting**: it stands in a bounded line, or the quarantine holds it back. A place is free: *trying*. Too long: *ended*.
 * - **trying**: it holds a place, and one replica works on it, once it is prepared for that one. The whole answer: *ended*.
 *   The first piece of one: *streaming*. A failure that is the engine's own: the place is given back, and another replica
 *   (then one of a fallback model, where the kind has any) tries, while tries are left; through *waiting* if all are busy.
 * - **streaming**: pieces are passed on as they come. There is no way back: a failure ends it, and so does a limit that has
 *   no more for the answer.
 * - **ended**: the place is given back, limits learn what was used, the ledger is told and the line in the log written,
 *   each exactly once.
 *
 * A cancel (the caller's, the deadline's, a revoked key's) goes to *ended* from every phase: it reaches the engine before
 * it returns, and nothing more is said. What is dispatched or passed on stands in the journal before.
 */
export class Lifecycle<P extends PoolPlan, E> implements Examined, Placed, Rostered, Taker {
  place = -1;
  readonly #deps: LifecycleDeps;
  readonly #kind: RequestKind<P, E>;
  readonly #context: CallContext;
  readonly #principal: Principal;
  readonly #sink: HeldSink<E>;
  readonly #onEnd: (one: Lifecycle<P, E>) => void;
  readonly #startMs: number;
  readonly #tries: Tries;
  readonly #placement: Placement<P>;
  #phase: "admitting" | "reserving" | "waiting" | "trying" | "streaming" | "ended" = "admitting";
  /** Until it is admitted. */
  #asked: P | undefined;
  #pending: PendingGrant | undefined;
  #grant: Grant = unlimited;
  #usage: RequestUsage | undefined;
  #notInFlight: (() => void) | undefined;
  #firstTokenMs: number | undefined;

  constructor(
    deps: LifecycleDeps,
    kind: RequestKind<P, E>,
    context: CallContext,
    principal: Principal,
    sink: Sink<E>,
    onEnd: (one: Lifecycle<P, E>) => void,
  ) {
    this.#deps = deps;
    this.#kind = kind;
    this.#context = context;
    this.#principal = principal;
    this.#sink = new HeldSink(sink, deps.usage.journal);
    this.#onEnd = onEnd;
    this.#startMs = deps.clock.monotonicMs();
    this.#tries = new Tries(deps);
    this.#placement = new Placement(deps, kind, this.#tries, this);
  }

  /** The model that is to serve it now. */
  get modelId(): string {
    return this.#placement.modelId;
  }

  /** Begins. */
  start(): void {
    const plan = this.#admit();
    if (plan instanceof WeirError) return this.#giveUp(plan);
    this.#asked = plan;
    this.#tries.content = this.#kind.content(plan);
    const held = this.#tries.examine(undefined, this);
    if (held instanceof WeirError) this.#giveUp(held);
    else if (held === undefined) this.#reserve(plan);
  }

  /** Ends it without a word to its sink. */
  cancel(reason: WeirError): void {
    this.#sink.drop();
    if (this.#phase === "ended") return;
    this.#tries.stop(reason);
    this.#end(reason, true);
  }

  /** Ends it from the gateway's side, and says so. */
  stop(reason: WeirError): void {
    if (this.#phase === "ended") return;
    this.#tries.stop(reason);
    this.#giveUp(reason);
  }

  /** What a caller is told when an engine has taken it. */
  started(maxTokens: number, ignored: readonly string[]): Started {
    return startedOf({
      requestId: this.#context.requestId,
      model: this.#kind.modelName,
      admitMs: this.#usage?.admitMs ?? 0,
      attempt: this.#tries.replicas.length,
      maxTokens,
      ignored: (this.#placement.plan?.ignored ?? []).concat(ignored),
      limits: this.#grant.rateLimits(this.#deps.clock.monotonicMs()),
    });
  }

  /** Tells the caller what is no piece of the answer: another replica may still try. */
  tell(message: E): void {
    this.#sink.event(message);
  }

  /** Passes a piece of the answer on. */
  pass(message: E): void {
    if (this.#phase === "trying") this.#commit();
    this.#sink.event(message);
  }

  /** The answer has grown. False: a limit has no more for it. */
  goesOn(): boolean {
    return this.#grant === unlimited || this.#grant.goesOn(this.#tries.received);
  }

  /** The caller does not keep up. */
  full(): boolean {
    return this.#sink.full();
  }

  /** How the engine is woken when the caller keeps up again; undefined: it needs not be. */
  resumeWith(resume: (() => void) | undefined): void {
    this.#sink.resume = resume;
  }

  /** The answer is whole. */
  answered(counts: Counts, last: E): void {
    this.#tries.ended(counts);
    this.#end(undefined, false);
    this.#sink.event(last);
    this.#sink.end();
  }

  /** The answer ends here: to its caller as if by itself, to the ledger and the log with the reason. */
  cut(reason: WeirError, last: readonly E[]): void {
    this.#tries.stop(reason);
    this.#end(reason, false);
    for (const message of last) this.#sink.event(message);
    this.#sink.end();
  }

  /** The try that ran failed. */
  failed(from: Tried, error: WeirError): void {
    const end = this.#tries.failed(from, error, this.#phase === "streaming");
    if (end) return this.#giveUp(end);
    this.#sink.resume = undefined;
    this.#placement.leave(from.lingering);
    // Whoever got the place may have made this caller leave.
    if (this.#phase !== "ended") this.#seek();
  }

  cleared(): void {
    if (this.#asked) this.#reserve(this.#asked);
  }

  barred(error: WeirError): void {
    this.#giveUp(error);
  }

  given(grant: Grant): void {
    this.#pending = undefined;
    this.#grant = grant;
    this.#beginUsage();
    this.#notInFlight = this.#deps.metrics.inFlight(this.modelId);
    this.#seek();
  }

  denied(error: WeirError): void {
    this.#pending = undefined;
    this.#giveUp(error);
  }

  placed(seat: Seat): void {
    this.#phase = "trying";
    const { plan } = this.#placement;
    const preparing = plan && this.#kind.prepare(plan, seat);
    if (!preparing) return this.#dispatch(seat);
    const ready = () => this.#phase === "trying" && this.#dispatch(seat);
    preparing.then(ready).catch((thrown: unknown) => this.stop(weirErrorFrom(thrown)));
  }

  unplaced(error: WeirError): void {
    this.#giveUp(error);
  }

  #admit(): P | WeirError {
    const { fleet, usage } = this.#deps;
    const entry = entryFor(fleet, this.#principal, this.#kind.modelName);
    const plan = entry instanceof WeirError ? entry : this.#kind.plan(entry);
    return plan instanceof WeirError ? plan : (usage.refusal() ?? plan);
  }

  #reserve(plan: P): void {
    this.#phase = "reserving";
    this.#asked = undefined;
    this.#placement.open(plan, this.#kind.needed(plan));
    const uses = this.#kind.uses(plan);
    if (uses === undefined) return this.given(unlimited);
    const about = { requestId: this.#context.requestId, principal: this.#principal, model: plan.entry.model.id };
    const taken = this.#deps.quota.take({ ...about, ...uses }, this);
    if (taken instanceof WeirError) this.#giveUp(taken);
    else if (taken instanceof PendingGrant) this.#pending = taken;
    else this.given(taken);
  }

  /** From here on it is admitted: however it ends, the ledger is told. */
  #beginUsage(): void {
    const about = { requestId: this.#context.requestId, principal: this.#principal };
    const request = { ...about, requestedModel: this.#kind.modelName, operation: this.#kind.name };
    this.#usage = this.#deps.usage.begin(request, this.modelId);
    this.#sink.usage = this.#usage;
    this.#tries.usage = this.#usage;
  }

  #seek(): void {
    this.#phase = "waiting";
    this.#placement.seek();
  }

  #dispatch(seat: Seat): void {
    const { plan } = this.#placement;
    const { driver, id: replicaId } = seat.replica;
    if (!plan || !driver) return this.#giveUp(fail(ErrorReason.INTERNAL));
    const id = `${this.#context.requestId}-${this.#tries.replicas.length + 1}`;
    const one = this.#kind.build(plan, seat, driver, id, this.#grant);
    if (one instanceof WeirError) return this.#giveUp(one);
    if (!this.#usage?.dispatches(replicaId, plan.entry.model.id, one.meter))
      return this.#giveUp(this.#deps.usage.noRoom());
    this.#tries.begin(seat, one);
    this.#sink.dispatch(one);
  }

  /** The first piece is about to be passed on. */
  #commit(): void {
    this.#phase = "streaming";
    const nowMs = this.#deps.clock.monotonicMs();
    this.#firstTokenMs = nowMs - this.#startMs;
    if (this.#usage) this.#usage.firstTokenMs = nowMs - this.#usage.startMs;
    this.#kind.forget();
  }

  /** Ends it with a failure. */
  #giveUp(error: WeirError): void {
    const counts = this.#end(error, false);
    const last = this.#kind.failure(error, counts);
    if (last === undefined) return this.#sink.fail(error);
    this.#sink.event(last);
    this.#sink.end();
  }

  /** The way into *ended*, taken once. Returns what was received in the try that counts. */
  #end(error: WeirError | undefined, cancelled: boolean): Counts | undefined {
    const counts = this.#tries.counts();
    this.#phase = "ended";
    this.#pending?.cancel();
    this.#placement.stopWaiting();
    this.#kind.forget();
    if (this.#usage) this.#usage.queuedMs = this.#placement.queuedMs;
    this.#tries.settle(this.#grant);
    this.#usage?.end(error?.reason);
    this.#tries.over();
    this.#sink.resume = undefined;
    this.#placement.leave(this.#tries.lingering);
    this.#notInFlight?.();
    this.#deps.log({
      operation: this.#kind.name,
      context: this.#context,
      asked: this.#kind.modelName,
      model: this.#placement.plan?.entry.model.id,
      tries: this.#tries.records,
      reason: error?.reason,
      cancelled,
      durationMs: this.#deps.clock.monotonicMs() - this.#startMs,
      queuedMs: this.#placement.queuedMs,
      firstTokenMs: this.#firstTokenMs,
      counts,
    });
    this.#onEnd(this);
    return counts;
  }
}
