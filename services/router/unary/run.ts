import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource, type Started } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { type Counts, usageOf } from "../../drivers/events.ts";
import { fail, WeirError } from "../../runtime/errors/fail.ts";
import type { CallContext } from "../../runtime/mesh/context.ts";
import type { Sink } from "../../runtime/mesh/push.ts";
import type { Rostered } from "../../runtime/roster.ts";
import type { Applicant } from "../admission/applicant.ts";
import type { Ticket } from "../admission/line.ts";
import type { Seat } from "../fleet/seat.ts";
import type { GenerationDeps } from "../generation-deps.ts";
import { sizeOfText } from "../max-tokens.ts";
import { createMeter, type Meter, type PromptBytes } from "../metering/meter.ts";
import { entryFor } from "../models.ts";
import { Content, notAsked } from "../quarantine/content.ts";
import { type Grant, unlimited } from "../quota/grant.ts";
import { PendingGrant, type Taker } from "../quota/pending-grant.ts";
import type { FeatureSet } from "../requirement.ts";
import { startedOf } from "../response.ts";
import { QueuedTime } from "../queued-time.ts";
import { Tries } from "../tries.ts";
import { HeldSink } from "../usage/held-sink.ts";
import type { RequestUsage } from "../usage/request-usage.ts";
import type { UnaryOperation, UnaryPlan } from "./operation.ts";
import { type UnaryListener, UnaryTry } from "./unary-try.ts";

/**
 * One request that has one answer, from its arrival to its end. Its phases are those of a `Generation`, and mean the same:
 * **admitting**, **reserving**, **waiting**, **trying**, **ended**. There is no streaming: until the answer is whole another
 * replica may try. Other models never do: what they say can't be compared.
 */
export class UnaryRun<Q extends { readonly model: string }, A, R>
  implements Applicant, Taker, UnaryListener<A>, Rostered
{
  place = -1;
  readonly needed: FeatureSet;
  readonly affinity = 0;
  readonly #deps: GenerationDeps;
  readonly #operation: UnaryOperation<Q, A, R>;
  readonly #request: Q;
  readonly #context: CallContext;
  readonly #principal: Principal;
  readonly #sink: HeldSink<R>;
  readonly #onEnd: (run: UnaryRun<Q, A, R>) => void;
  readonly #startMs: number;
  #admitMs = 0;
  readonly #tries: Tries;
  readonly #size: PromptBytes;
  #phase: "admitting" | "reserving" | "waiting" | "trying" | "ended" = "admitting";
  #plan: UnaryPlan | undefined;
  #pending: PendingGrant | undefined;
  #grant: Grant = unlimited;
  #usage: RequestUsage | undefined;
  #ticket: Ticket | undefined;
  #seat: Seat | undefined;
  #hadPlace = false;
  readonly #queued = new QueuedTime();
  #notInFlight: (() => void) | undefined;
  readonly #barred = (error: WeirError): void => this.#giveUp(error);

  constructor(
    deps: GenerationDeps,
    operation: UnaryOperation<Q, A, R>,
    request: Q,
    context: CallContext,
    principal: Principal,
    sink: Sink<R>,
    onEnd: (run: UnaryRun<Q, A, R>) => void,
  ) {
    this.#deps = deps;
    this.#operation = operation;
    this.#request = request;
    this.#context = context;
    this.#principal = principal;
    this.#sink = new HeldSink(sink, deps.usage.journal);
    this.#onEnd = onEnd;
    this.#startMs = deps.clock.monotonicMs();
    this.#tries = new Tries(deps);
    this.#size = operation.size(request);
    this.needed = operation.needed(request);
  }

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
    this.#tries.content = this.#content(plan);
    this.#tries.examine(undefined, () => this.#reserve(plan), this.#barred);
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

  granted(seat: Seat): void {
    this.#waited();
    this.#attempt(seat);
  }

  refused(error: WeirError): void {
    this.#waited();
    // What broke the last try says more than that no other came.
    this.#giveUp(this.#tries.lastError ?? error);
  }

  answered({ meter }: UnaryTry<A>, answer: A): void {
    const tokens = this.#operation.tokens(answer);
    if (tokens !== undefined) meter.engineSays(usageOf(countsOf(tokens)));
    const counts = meter.counts();
    if (meter.promptFromEngine) this.#deps.estimate.learn(this.modelId, this.#size.bytes, counts.promptTokens);
    this.#tries.ended(counts);
    const response = this.#operation.respond(this.#request, answer, this.#started(), usageOf(counts));
    this.#end(undefined, false);
    this.#sink.event(response);
    this.#sink.end();
  }

  failed(from: UnaryTry<A>, told: WeirError): void {
    const error = this.#named(told);
    const end = this.#tries.failed(from, error, false);
    if (end) return this.#giveUp(end);
    this.#leave();
    // Whoever got the place may have made this caller leave.
    if (this.#isOver) return;
    this.#seek();
  }

  /** Ends it without a word to its sink. */
  cancel(reason: WeirError): void {
    this.#sink.drop();
    if (this.#isOver) return;
    this.#stopAll(reason);
    this.#end(reason, true);
  }

  /** Ends it from the gateway's side, and says so. */
  stop(reason: WeirError): void {
    if (this.#isOver) return;
    this.#stopAll(reason);
    this.#giveUp(reason);
  }

  /** Engines' words do not tell which member is too long; drivers say the one of a chat. */
  #named(error: WeirError): WeirError {
    if (error.reason !== ErrorReason.CONTEXT_LENGTH_EXCEEDED) return error;
    return fail(error.reason, { ...error.facts, param: this.#operation.param }, { cause: error });
  }

  get #isOver(): boolean {
    return this.#phase === "ended";
  }

  #stopAll(reason: WeirError): void {
    this.#pending?.cancel();
    this.#ticket?.leave();
    this.#tries.stop(reason);
  }

  #admit(): UnaryPlan | WeirError {
    const { fleet, usage } = this.#deps;
    const entry = entryFor(fleet, this.#principal, this.#request.model);
    if (entry instanceof WeirError) return entry;
    const plan = this.#operation.plan(this.#request, entry);
    if (plan instanceof WeirError) return plan;
    return usage.refusal() ?? plan;
  }

  #content({ entry, extras }: UnaryPlan): Content {
    const { name } = this.#operation;
    const { bytes, tokens = "" } = this.#size;
    return new Content({
      projectId: this.#principal.projectId,
      modelId: entry.model.id,
      model: this.#request.model,
      sketch: () => `${name} ${bytes} ${tokens}`,
      all: () => ({ ...this.#request, name, extras, ...notAsked }),
    });
  }

  #reserve(plan: UnaryPlan): void {
    this.#phase = "reserving";
    this.#plan = plan;
    const { operation } = this.#operation;
    if (operation === undefined) return this.given(unlimited);
    const { bytes, tokens } = this.#size;
    const size =
      tokens === undefined
        ? sizeOfText(bytes, this.#deps.estimate.bytesPerToken(this.modelId))
        : { least: tokens, likely: tokens };
    const taken = this.#deps.quota.take(
      {
        requestId: this.#context.requestId,
        principal: this.#principal,
        model: this.modelId,
        operation,
        expected: { inputTokens: size.likely, outputTokens: 0 },
        least: { inputTokens: size.least, outputTokens: 0 },
      },
      this,
    );
    if (taken instanceof WeirError) this.#giveUp(taken);
    else if (taken instanceof PendingGrant) this.#pending = taken;
    else this.given(taken);
  }

  /** From here on it is admitted: however it ends, the ledger is told. */
  #beginUsage(): void {
    const usage = this.#deps.usage.begin(
      {
        requestId: this.#context.requestId,
        principal: this.#principal,
        requestedModel: this.#request.model,
        operation: this.#operation.name,
      },
      this.modelId,
    );
    this.#usage = usage;
    this.#admitMs = usage.admitMs;
    this.#sink.usage = usage;
    this.#tries.usage = usage;
  }

  /** Takes a place at a replica, or waits for one. */
  #seek(): void {
    this.#waited();
    const found = this.#deps.admission.take(this);
    if (typeof found !== "string") return this.#attempt(found);
    if (found === "unsupported") return this.#giveUp(this.#lacking());
    if (found === "closed" && this.#tries.lastError) return this.#giveUp(this.#tries.lastError);
    this.#wait();
  }

  #lacking(): WeirError {
    const sets = this.#plan?.entry.seats.map((seat) => seat.features) ?? [];
    return this.#operation.lacking(this.#request, sets);
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

  #waited(): void {
    this.#ticket = undefined;
    this.#queued.end(this.#deps.clock);
  }

  #attempt(seat: Seat): void {
    this.#seat = seat;
    this.#hadPlace = true;
    this.#phase = "trying";
    const goOn = (late: boolean): void => (late ? this.#seek() : this.#dispatch(seat));
    if (!this.#tries.examine(seat.replica, goOn, this.#barred)) return;
    // Others may have the place meanwhile.
    this.#beginWait();
    this.#leave();
  }

  #dispatch(seat: Seat): void {
    const plan = this.#plan;
    const { driver, id: replicaId } = seat.replica;
    if (!plan || !driver) return this.#giveUp(fail(ErrorReason.INTERNAL));
    const id = `${this.#context.requestId}-${this.tried.length + 1}`;
    const attempt = { id, request: this.#request, model: seat.model, extras: plan.extras };
    const meter = this.#meter(plan, seat);
    if (!this.#usage?.dispatches(replicaId, this.modelId, meter)) return this.#giveUp(this.#deps.usage.noRoom());
    const place = { entry: plan.entry, features: seat.features, projectId: this.#principal.projectId };
    const ask = async (signal: AbortSignal) => {
      const asked = this.#operation.ask(driver, attempt, place, signal);
      if (asked === undefined) throw this.#lacking();
      return await asked;
    };
    const one = new UnaryTry(meter, ask, this, !this.#operation.answersHere?.(attempt, place));
    this.#tries.begin(seat, one);
    this.#sink.dispatch(one);
  }

  #meter({ entry }: UnaryPlan, seat: Seat): Meter {
    const context = Number(seat.model.contextLength) || Number(entry.model.contextLength);
    return createMeter({
      prompt: this.#size,
      bytesPerToken: this.#deps.estimate.bytesPerToken(entry.model.id),
      promptMax: context * this.#operation.inputs(this.#request),
      completionMax: 0,
    });
  }

  #started(): Started {
    return startedOf({
      requestId: this.#context.requestId,
      model: this.#request.model,
      admitMs: this.#admitMs,
      attempt: this.tried.length,
      maxTokens: 0,
      ignored: [...(this.#plan?.ignored ?? [])],
      limits: this.#grant.rateLimits(this.#deps.clock.monotonicMs()),
    });
  }

  #giveUp(error: WeirError): void {
    this.#end(error, false);
    this.#sink.fail(error);
  }

  /** The way into *ended*, taken once. */
  #end(error: WeirError | undefined, cancelled: boolean): void {
    const counts = this.#tries.counts();
    this.#waited();
    this.#phase = "ended";
    if (this.#usage) this.#usage.queuedMs = this.#queued.ms;
    this.#tries.settle(this.#grant);
    this.#usage?.end(error?.reason);
    this.#tries.over();
    this.#leave();
    this.#notInFlight?.();
    this.#deps.log({
      operation: this.#operation.name,
      context: this.#context,
      asked: this.#request.model,
      model: this.#plan?.entry.model.id,
      tries: this.#tries.records,
      reason: error?.reason,
      cancelled,
      durationMs: this.#deps.clock.monotonicMs() - this.#startMs,
      queuedMs: this.#queued.ms,
      firstTokenMs: undefined,
      counts,
    });
    this.#onEnd(this);
  }

  /** Gives the place back, once. */
  #leave(): void {
    const seat = this.#seat;
    if (!seat) return;
    this.#seat = undefined;
    this.#deps.admission.leave(seat);
  }
}

function countsOf(promptTokens: number): Counts {
  const { ENGINE } = CountSource;
  return { promptTokens, completionTokens: 0, promptSource: ENGINE, completionSource: ENGINE };
}
