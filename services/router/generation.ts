import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { GenerateRequest, GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { usageEvent } from "../drivers/events.ts";
import { fail, WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { Sink } from "../runtime/mesh/push.ts";
import type { Rostered } from "../runtime/roster.ts";
import type { Applicant } from "./admission/applicant.ts";
import type { Ticket } from "./admission/line.ts";
import { AttemptBuilder } from "./attempt.ts";
import { fallbackPlans, firstOpen } from "./fallback.ts";
import { affinityOf } from "./fleet/rendezvous.ts";
import type { Seat } from "./fleet/seat.ts";
import type { GenerationDeps } from "./generation-deps.ts";
import { entryFor } from "./models.ts";
import { type Plan, planFor } from "./plan.ts";
import { contentOf } from "./quarantine/content.ts";
import { type Grant, unlimited } from "./quota/grant.ts";
import { PendingGrant, type Taker } from "./quota/pending-grant.ts";
import { type FeatureSet, neededBy, unsupported } from "./requirement.ts";
import { cutEvents, failedEvent, startedEvent } from "./response.ts";
import { QueuedTime } from "./queued-time.ts";
import { Tries } from "./tries.ts";
import { Try, type TryListener } from "./try.ts";
import { HeldSink } from "./usage/held-sink.ts";
import type { RequestUsage } from "./usage/request-usage.ts";

/**
 * One request for a generation, from its arrival to its end. It is always in one of these phases:
 *
 * - **admitting**: the model is looked up, the request held against the key's and the pool's rules: what is wrong with it is
 *   told by `sink.fail`, and no engine hears of it. All at once, but where the quarantine has to look at what is asked.
 * - **reserving**: what it may use is set aside on the limits that count it; at once where this node may spend it by
 *   itself, else the quota service is asked. Refused: *ended*, without a trace in the ledger. Granted: from here on it
 *   is admitted. If a place at a replica is free it is taken and the request goes on to *trying*, else to *waiting*.
 * - **waiting**: it stands in a bounded line, or the quarantine holds it back. A place is free: *trying*. Too long: *ended*.
 * - **trying**: it holds a place, and one replica works on it, once its prompt is rendered. `started` goes out when the
 *   engine has taken it. The first piece with content: *streaming*. A failure that is the engine's own: the place is given
 *   back, and another replica (then one of a fallback model) tries, while tries are left; through *waiting* if all are busy.
 * - **streaming**: pieces are passed on as they come. There is no way back: a failure is now told as one `failed`.
 *   Where a limit has no more for the answer it ends as if `max_tokens` was reached.
 * - **ended**: the place is given back, limits learn what was used, the ledger is told and the line in the log written,
 *   each exactly once. Before `started` a failure is the call's own; after it, it is an event with what was counted.
 *
 * A cancel (the caller's, the deadline's, a revoked key's) goes to *ended* from every phase: it reaches the engine before
 * it returns, and nothing more is said. What is dispatched or passed on stands in the journal before.
 */
export class Generation implements Applicant, Taker, TryListener, Rostered {
  place = -1;
  readonly #deps: GenerationDeps;
  readonly #request: GenerateRequest;
  readonly #context: CallContext;
  readonly #sink: HeldSink;
  readonly #principal: Principal;
  readonly #builder: AttemptBuilder;
  readonly #onEnd: (generation: Generation) => void;
  readonly #startMs: number;
  readonly #tries: Tries;
  #usage: RequestUsage | undefined;
  needed: FeatureSet = 0;
  readonly affinity: number;
  #phase: "admitting" | "reserving" | "waiting" | "trying" | "streaming" | "ended" = "admitting";
  #plan: Plan | undefined;
  #fallbacks: readonly string[] = [];
  #pending: PendingGrant | undefined;
  #grant: Grant = unlimited;
  #ticket: Ticket | undefined;
  #seat: Seat | undefined;
  #try: Try | undefined;
  #hadPlace = false;
  readonly #queued = new QueuedTime();
  #firstTokenMs: number | undefined;
  #maxTokens = 0;
  /** `started` was passed on. */
  #accepted = false;
  #notInFlight: (() => void) | undefined;
  readonly #barred = (error: WeirError): void => this.#giveUp(error);

  constructor(
    deps: GenerationDeps,
    request: GenerateRequest,
    context: CallContext,
    principal: Principal,
    sink: Sink<GenerateResponse>,
    onEnd: (generation: Generation) => void,
  ) {
    this.#deps = deps;
    this.#request = request;
    this.#context = context;
    this.#principal = principal;
    this.#sink = new HeldSink(sink, deps.usage.journal);
    this.#builder = new AttemptBuilder(deps, request, principal.projectId);
    this.#tries = new Tries(deps);
    this.#onEnd = onEnd;
    this.#startMs = deps.clock.monotonicMs();
    this.affinity = affinityOf(principal.projectId, request.affinityHint);
  }

  /** The model that is to serve it now. */
  get modelId(): string {
    return this.#plan?.entry.model.id ?? "";
  }

  get modelName(): string {
    return this.#request.model;
  }

  get tried(): readonly Seat["replica"][] {
    return this.#tries.replicas;
  }

  /** Begins. */
  start(): void {
    const plan = this.#admit();
    if (plan instanceof WeirError) return this.#giveUp(plan);
    this.#tries.content = contentOf(this.#principal, plan);
    this.#tries.examine(undefined, () => this.#reserve(plan), this.#barred);
  }

  #reserve(plan: Plan): void {
    this.#phase = "reserving";
    this.#plan = plan;
    this.needed = neededBy(this.#request, plan.extras);
    this.#fallbacks = plan.entry.model.fallbackModelIds;
    const { expected, least } = this.#builder.uses(plan);
    const about = { requestId: this.#context.requestId, principal: this.#principal, model: plan.entry.model.id };
    const ask = { ...about, operation: Operation.GENERATE, expected, least };
    const taken = this.#deps.quota.take(ask, this);
    if (taken instanceof WeirError) this.#giveUp(taken);
    else if (taken instanceof PendingGrant) this.#pending = taken;
    else this.given(taken);
  }

  given(grant: Grant): void {
    this.#pending = undefined;
    this.#grant = grant;
    const plan = this.#plan;
    if (!plan) return this.#giveUp(fail(ErrorReason.INTERNAL));
    this.#beginUsage(plan);
    this.#notInFlight = this.#deps.metrics.inFlight(plan.entry.model.id);
    this.#seek();
  }

  denied(error: WeirError): void {
    this.#pending = undefined;
    this.#giveUp(error);
  }

  /** Ends it without a word to its sink. */
  cancel(reason: WeirError): void {
    this.#sink.drop();
    if (this.#phase === "ended") return;
    this.#stopAll(reason);
    this.#end(reason, true);
  }

  /** Ends it from the gateway's side, and says so. */
  stop(reason: WeirError): void {
    if (this.#phase === "ended") return;
    this.#stopAll(reason);
    this.#giveUp(reason);
  }

  #stopAll(reason: WeirError): void {
    this.#pending?.cancel();
    this.#ticket?.leave();
    this.#tries.stop(reason);
  }

  #admit(): Plan | WeirError {
    const entry = entryFor(this.#deps.fleet, this.#principal, this.#request.model);
    const plan = entry instanceof WeirError ? entry : planFor(this.#request, entry);
    if (plan instanceof WeirError) return plan;
    return this.#builder.problemOf(plan) ?? this.#deps.usage.refusal() ?? plan;
  }

  /** From here on it is admitted: however it ends, the ledger is told. */
  #beginUsage({ entry }: Plan): void {
    const about = { requestId: this.#context.requestId, principal: this.#principal };
    const request = { ...about, requestedModel: this.#request.model, operation: "generate" as const };
    this.#usage = this.#deps.usage.begin(request, entry.model.id);
    this.#sink.usage = this.#usage;
    this.#tries.usage = this.#usage;
  }

  /** Takes a place at a replica of the model, or of a fallback while none of the model's is open, or waits for one. */
  #seek(): void {
    this.#waited();
    const found = this.#deps.admission.take(this);
    if (typeof found !== "string") return this.#attempt(found);
    if (found === "busy") return this.#wait();
    if (found === "unsupported") {
      const sets = this.#plan?.entry.seats.map(({ features }) => features) ?? [];
      return this.#giveUp(unsupported(this.#request, this.needed, sets, this.#request.model));
    }
    const fallback = this.#seekFallback();
    if (fallback === "busy") return this.#wait();
    if (fallback !== "closed") return this.#attempt(fallback);
    if (this.#tries.lastError) return this.#giveUp(this.#tries.lastError);
    this.#wait();
  }

  /** Moves on to a fallback. */
  #seekFallback(): Seat | "busy" | "closed" {
    const primary = this.#plan;
    const plans = fallbackPlans(this.#deps.fleet, this.#principal, this.#request, this.#fallbacks);
    const open = firstOpen(plans, (plan) => {
      if (this.#builder.problemOf(plan)) return "closed";
      this.#plan = plan;
      return this.#deps.admission.take(this);
    });
    this.#plan = open?.plan ?? primary;
    return open?.found ?? "closed";
  }

  #beginWait(): void {
    this.#phase = "waiting";
    this.#queued.begin(this.#deps.clock);
    this.#usage?.waits();
  }

  #wait(): void {
    this.#beginWait();
    const ticket = this.#deps.admission.wait(this, this.#hadPlace);
    if (ticket instanceof WeirError) this.#giveUp(ticket);
    else this.#ticket = ticket;
  }

  granted(seat: Seat): void {
    this.#waited();
    this.#attempt(seat);
  }

  refused(error: WeirError): void {
    this.#waited();
    // What broke the last try says more than that no other came.
    this.#giveUp(this.#tries.lastError ?? error);
  }

  #waited(): void {
    this.#ticket = undefined;
    this.#queued.end(this.#deps.clock);
  }

  #attempt(seat: Seat): void {
    this.#seat = seat;
    this.#hadPlace = true;
    this.#phase = "trying";
    const goOn = (late: boolean): void => (late ? this.#seek() : this.#prepare(seat));
    if (!this.#tries.examine(seat.replica, goOn, this.#barred)) return;
    // Others may have the place meanwhile.
    this.#beginWait();
    this.#leave();
  }

  #prepare(seat: Seat): void {
    const preparing = this.#plan && this.#builder.prepare(this.#plan, seat);
    if (!preparing) return this.#dispatch(seat);
    const ready = () => this.#phase === "trying" && this.#dispatch(seat);
    preparing.then(ready).catch((thrown: unknown) => this.stop(weirErrorFrom(thrown)));
  }

  #dispatch(seat: Seat): void {
    const plan = this.#plan;
    const { driver } = seat.replica;
    if (!plan || !driver) return this.#giveUp(fail(ErrorReason.INTERNAL));
    const ready = this.#builder.build(plan, seat, `${this.#context.requestId}-${this.tried.length + 1}`, this.#grant);
    if (ready instanceof WeirError) return this.#giveUp(ready);
    if (!this.#usage?.dispatches(seat.replica.id, plan.entry.model.id, ready.meter))
      return this.#giveUp(this.#deps.usage.noRoom());
    this.#maxTokens = ready.attempt.maxTokens;
    const one = new Try(ready, driver, { model: this.#request.model, replica: seat.replica.id }, this);
    this.#try = one;
    this.#tries.begin(seat, one);
    this.#sink.dispatch(one);
  }

  accepted(_from: Try, ignored: readonly string[]): void {
    this.#accepted = true;
    this.#sink.event(
      startedEvent({
        requestId: this.#context.requestId,
        model: this.#request.model,
        admitMs: this.#usage?.admitMs ?? 0,
        attempt: this.tried.length,
        maxTokens: this.#maxTokens,
        ignored: (this.#plan?.ignored ?? []).concat(ignored),
        limits: this.#grant.rateLimits(this.#deps.clock.monotonicMs()),
      }),
    );
  }

  passed(message: GenerateResponse): void {
    if (this.#phase === "trying") {
      this.#phase = "streaming";
      const nowMs = this.#deps.clock.monotonicMs();
      this.#firstTokenMs = nowMs - this.#startMs;
      if (this.#usage) this.#usage.firstTokenMs = nowMs - this.#usage.startMs;
      this.#builder.forget();
    }
    this.#sink.event(message);
    if (this.#grant !== unlimited && message.event.case === "delta" && !this.#grant.goesOn(this.#tries.received))
      this.#cutShort();
  }

  turn(): void {
    this.#sink.turn();
  }

  /** A limit has no more for the answer. */
  #cutShort(): void {
    const choices = this.#tries.unfinished();
    // For the ledger and the log: the caller sees an answer that reached its length.
    const reason = fail(ErrorReason.BUDGET_EXHAUSTED);
    this.#tries.stop(reason);
    const counts = this.#tries.counts();
    const rest = this.#tries.rest();
    this.#end(reason, false);
    this.#sayLast(...rest, ...cutEvents(choices, counts));
  }

  full(): boolean {
    return this.#sink.full();
  }

  resumeWith(resume: (() => void) | undefined): void {
    this.#sink.resume = resume;
  }

  ended({ meter }: Try): void {
    const counts = meter.counts();
    this.#builder.learn(this.modelId, counts, meter.promptFromEngine);
    this.#tries.ended(counts);
    this.#end(undefined, false);
    this.#sayLast(usageEvent(counts));
  }

  failed(from: Try, error: WeirError): void {
    const end = this.#tries.failed(from, error, this.#phase === "streaming");
    if (end) return this.#giveUp(end);
    this.#sink.resume = undefined;
    this.#leave();
    // Whoever got the place may have made this caller leave.
    if (this.#phase !== "ended") this.#seek();
  }

  /** Ends it with a failure, told as its phase wants it. */
  #giveUp(error: WeirError): void {
    const counts = this.#tries.counts();
    this.#end(error, false);
    if (this.#accepted) this.#sayLast(failedEvent(error, counts));
    else this.#sink.fail(error);
  }

  #sayLast(...messages: readonly GenerateResponse[]): void {
    for (const message of messages) this.#sink.event(message);
    this.#sink.end();
  }

  /** The way into *ended*, taken once. */
  #end(error: WeirError | undefined, cancelled: boolean): void {
    const counts = this.#tries.counts();
    this.#waited();
    this.#phase = "ended";
    this.#builder.forget();
    if (this.#usage) this.#usage.queuedMs = this.#queued.ms;
    this.#tries.settle(this.#grant);
    this.#usage?.end(error?.reason);
    this.#tries.over();
    this.#sink.resume = undefined;
    this.#leave();
    this.#notInFlight?.();
    this.#deps.log({
      operation: "generate",
      context: this.#context,
      asked: this.#request.model,
      model: this.#plan?.entry.model.id,
      tries: this.#tries.records,
      reason: error?.reason,
      cancelled,
      durationMs: this.#deps.clock.monotonicMs() - this.#startMs,
      queuedMs: this.#queued.ms,
      firstTokenMs: this.#firstTokenMs,
      counts,
    });
    this.#onEnd(this);
  }

  /** Gives the place back, once; from an engine that could not be stopped when it has ended. */
  #leave(): void {
    const [seat, over] = [this.#seat, this.#try?.lingering];
    if (!seat) return;
    this.#seat = undefined;
    this.#try = undefined;
    if (over) void over.then(() => this.#deps.admission.leave(seat));
    else this.#deps.admission.leave(seat);
  }
}
