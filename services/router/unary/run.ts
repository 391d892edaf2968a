import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { CountSource } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Driver } from "../../drivers/driver.ts";
import { type Counts, usageOf } from "../../drivers/events.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { CallContext } from "../../runtime/mesh/context.ts";
import type { Sink } from "../../runtime/mesh/push.ts";
import type { ModelEntry } from "../fleet/fleet.ts";
import type { Seat } from "../fleet/seat.ts";
import type { GenerationDeps } from "../generation-deps.ts";
import { Lifecycle } from "../lifecycle.ts";
import { sizeOfText } from "../max-tokens.ts";
import { createMeter, type Meter, type PromptBytes } from "../metering/meter.ts";
import type { PoolPlan } from "../plan.ts";
import { Content, notAsked } from "../quarantine/content.ts";
import type { RequestKind, Uses } from "../request-kind.ts";
import type { FeatureSet } from "../requirement.ts";
import type { OperationName } from "../usage/usage-facts.ts";
import type { UnaryOperation } from "./operation.ts";
import { type UnaryListener, UnaryTry } from "./unary-try.ts";

/**
 * What is particular to a request that has one answer: until that is whole another replica may try. Other models never
 * do: what they say can't be compared.
 */
export class UnaryRun<Q extends { readonly model: string }, A, R>
  implements RequestKind<PoolPlan, R>, UnaryListener<A>
{
  readonly affinity = 0;
  readonly life: Lifecycle<PoolPlan, R>;
  readonly #deps: GenerationDeps;
  readonly #operation: UnaryOperation<Q, A, R>;
  readonly #request: Q;
  readonly #principal: Principal;
  readonly #size: PromptBytes;

  constructor(
    deps: GenerationDeps,
    operation: UnaryOperation<Q, A, R>,
    request: Q,
    context: CallContext,
    principal: Principal,
    sink: Sink<R>,
    onEnd: (life: Lifecycle<PoolPlan, R>) => void,
  ) {
    this.#deps = deps;
    this.#operation = operation;
    this.#request = request;
    this.#principal = principal;
    this.#size = operation.size(request);
    this.life = new Lifecycle(deps, this, context, principal, sink, onEnd);
  }

  get name(): OperationName {
    return this.#operation.name;
  }

  get modelName(): string {
    return this.#request.model;
  }

  plan(entry: ModelEntry): PoolPlan | WeirError {
    return this.#operation.plan(this.#request, entry);
  }

  content({ entry, extras }: PoolPlan): Content {
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

  needed(): FeatureSet {
    return this.#operation.needed(this.#request);
  }

  uses({ entry }: PoolPlan): Uses | undefined {
    const { operation } = this.#operation;
    if (operation === undefined) return undefined;
    const { bytes, tokens } = this.#size;
    const { least, likely } =
      tokens === undefined
        ? sizeOfText(bytes, this.#deps.estimate.bytesPerToken(entry.model.id))
        : { least: tokens, likely: tokens };
    return {
      operation,
      expected: { inputTokens: likely, outputTokens: 0 },
      least: { inputTokens: least, outputTokens: 0 },
    };
  }

  lacking(seats: readonly Seat[]): WeirError {
    const sets = seats.map(({ features }) => features);
    return this.#operation.lacking(this.#request, sets);
  }

  fallbacks(): readonly PoolPlan[] {
    return [];
  }

  prepare(): undefined {
    return undefined;
  }

  build(plan: PoolPlan, seat: Seat, driver: Driver, id: string): UnaryTry<A> {
    const { entry, extras } = plan;
    const attempt = { id, request: this.#request, model: seat.model, extras };
    const place = { entry, features: seat.features, projectId: this.#principal.projectId };
    const ask = async (signal: AbortSignal) => {
      const asked = this.#operation.ask(driver, attempt, place, signal);
      if (asked === undefined) throw this.lacking(entry.seats);
      return await asked;
    };
    return new UnaryTry(this.#meter(plan, seat), ask, this, !this.#operation.answersHere?.(attempt, place));
  }

  forget(): void {
    // A try lets go of what is asked when it starts.
  }

  failure(): undefined {
    return undefined;
  }

  answered({ meter }: UnaryTry<A>, answer: A): void {
    const tokens = this.#operation.tokens(answer);
    if (tokens !== undefined) meter.engineSays(usageOf(countsOf(tokens)));
    const counts = meter.counts();
    if (meter.promptFromEngine) this.#deps.estimate.learn(this.life.modelId, this.#size.bytes, counts.promptTokens);
    const started = this.life.started(0, []);
    this.life.answered(counts, this.#operation.respond(this.#request, answer, started, usageOf(counts)));
  }

  failed(from: UnaryTry<A>, error: WeirError): void {
    this.life.failed(from, this.#named(error));
  }

  /** Engines' words do not tell which member is too long; drivers say the one of a chat. */
  #named(error: WeirError): WeirError {
    if (error.reason !== ErrorReason.CONTEXT_LENGTH_EXCEEDED) return error;
    return fail(error.reason, { ...error.facts, param: this.#operation.param }, { cause: error });
  }

  #meter({ entry }: PoolPlan, seat: Seat): Meter {
    const context = Number(seat.model.contextLength) || Number(entry.model.contextLength);
    return createMeter({
      prompt: this.#size,
      bytesPerToken: this.#deps.estimate.bytesPerToken(entry.model.id),
      promptMax: context * this.#operation.inputs(this.#request),
      completionMax: 0,
    });
  }
}

function countsOf(promptTokens: number): Counts {
  const { ENGINE } = CountSource;
  return { promptTokens, completionTokens: 0, promptSource: ENGINE, completionSource: ENGINE };
}
