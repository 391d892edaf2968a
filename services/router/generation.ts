import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { GenerateRequest, GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Driver } from "../drivers/driver.ts";
import { type Counts, usageEvent } from "../drivers/events.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { Sink } from "../runtime/mesh/push.ts";
import { type AnswerBounds, AttemptBuilder } from "./attempt.ts";
import { fallbackPlans } from "./fallback.ts";
import type { ModelEntry } from "./fleet/fleet.ts";
import { affinityOf } from "./fleet/rendezvous.ts";
import type { Seat } from "./fleet/seat.ts";
import type { GenerationDeps } from "./generation-deps.ts";
import { Lifecycle } from "./lifecycle.ts";
import { type Plan, planFor } from "./plan.ts";
import { type Content, contentOf } from "./quarantine/content.ts";
import type { RequestKind, Uses } from "./request-kind.ts";
import { type FeatureSet, neededBy, unsupported } from "./requirement.ts";
import { cutEvents, failedEvent, startedEvent } from "./response.ts";
import { Try, type TryListener } from "./try.ts";

/**
 * What is particular to a request for a generation. Its answer comes in pieces; `started` goes before them, when an engine
 * has taken it, and may come again from another one until the first piece. From `started` on a failure is an event with what
 * was counted. Other models may serve it, its prompt may have to be rendered, and a limit may end its answer early: then it
 * ends as if `max_tokens` was reached.
 */
export class Generation implements RequestKind<Plan, GenerateResponse>, TryListener {
  readonly name = "generate";
  readonly affinity: number;
  readonly life: Lifecycle<Plan, GenerateResponse>;
  readonly #deps: GenerationDeps;
  readonly #request: GenerateRequest;
  readonly #principal: Principal;
  readonly #builder: AttemptBuilder;
  /** The newest one, and what its engine was told. */
  #try: Try | undefined;
  #maxTokens = 0;
  /** `started` was passed on. */
  #accepted = false;

  constructor(
    deps: GenerationDeps,
    request: GenerateRequest,
    context: CallContext,
    principal: Principal,
    sink: Sink<GenerateResponse>,
    onEnd: (life: Lifecycle<Plan, GenerateResponse>) => void,
  ) {
    this.#deps = deps;
    this.#request = request;
    this.#principal = principal;
    this.#builder = new AttemptBuilder(deps, request, principal.projectId);
    this.affinity = affinityOf(principal.projectId, request.affinityHint);
    this.life = new Lifecycle(deps, this, context, principal, sink, onEnd);
  }

  get modelName(): string {
    return this.#request.model;
  }

  plan(entry: ModelEntry): Plan | WeirError {
    const plan = planFor(this.#request, entry);
    return plan instanceof WeirError ? plan : (this.#builder.problemOf(plan) ?? plan);
  }

  content(plan: Plan): Content {
    return contentOf(this.#principal, plan);
  }

  needed({ extras }: Plan): FeatureSet {
    return neededBy(this.#request, extras);
  }

  uses(plan: Plan): Uses {
    const { expected, least } = this.#builder.uses(plan);
    return { operation: Operation.GENERATE, expected, least };
  }

  lacking(seats: readonly Seat[], needed: FeatureSet): WeirError {
    const sets = seats.map(({ features }) => features);
    return unsupported(this.#request, needed, sets, this.modelName);
  }

  *fallbacks({ entry }: Plan): Generator<Plan> {
    const { fallbackModelIds } = entry.model;
    const plans = fallbackPlans(this.#deps.fleet, this.#principal, this.#request, fallbackModelIds);
    for (const plan of plans) if (!this.#builder.problemOf(plan)) yield plan;
  }

  prepare(plan: Plan, seat: Seat): Promise<void> | undefined {
    return this.#builder.prepare(plan, seat);
  }

  build(plan: Plan, seat: Seat, driver: Driver, id: string, bounds: AnswerBounds): Try | WeirError {
    const ready = this.#builder.build(plan, seat, id, bounds);
    if (ready instanceof WeirError) return ready;
    this.#maxTokens = ready.attempt.maxTokens;
    this.#try = new Try(ready, driver, { model: this.modelName, replica: seat.replica.id }, this);
    return this.#try;
  }

  forget(): void {
    this.#builder.forget();
  }

  failure(error: WeirError, counts: Counts | undefined): GenerateResponse | undefined {
    return this.#accepted ? failedEvent(error, counts) : undefined;
  }

  accepted(_from: Try, ignored: readonly string[]): void {
    this.#accepted = true;
    this.life.tell(startedEvent(this.life.started(this.#maxTokens, ignored)));
  }

  passed(message: GenerateResponse): void {
    this.life.pass(message);
    if (message.event.case === "delta" && !this.life.goesOn()) this.#cutShort();
  }

  turn(): void {
    // What came in a turn is passed on when the journal has it.
  }

  full(): boolean {
    return this.life.full();
  }

  resumeWith(resume: (() => void) | undefined): void {
    this.life.resumeWith(resume);
  }

  ended({ meter }: Try): void {
    const counts = meter.counts();
    this.#builder.learn(this.life.modelId, counts, meter.promptFromEngine);
    this.life.answered(counts, usageEvent(counts));
  }

  failed(from: Try, error: WeirError): void {
    this.life.failed(from, error);
  }

  /** A limit has no more for the answer. */
  #cutShort(): void {
    const one = this.#try;
    if (!one) return;
    const choices = one.unfinished();
    // For the ledger and the log: the caller sees an answer that reached its length.
    this.life.cut(fail(ErrorReason.BUDGET_EXHAUSTED), [...one.rest(), ...cutEvents(choices, one.meter.counts())]);
  }
}
