import type { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { Started, Usage } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { Driver } from "../../drivers/driver.ts";
import type { UnaryAttempt } from "../../drivers/unary.ts";
import type { WeirError } from "../../runtime/errors/fail.ts";
import type { ModelEntry } from "../fleet/fleet.ts";
import type { PromptBytes } from "../metering/meter.ts";
import type { PoolPlan } from "../plan.ts";
import type { FeatureSet } from "../requirement.ts";
import type { OperationName } from "../usage/usage-facts.ts";

/** Where a request is tried. */
export interface UnaryPlace {
  readonly entry: ModelEntry;
  /** What the model can do there. */
  readonly features: FeatureSet;
  readonly projectId: string;
}

/** What a request that has one answer does: `Q` is asked, a driver answers with `A`, the caller gets `R`. */
export interface UnaryOperation<Q extends { readonly model: string }, A, R> {
  readonly name: OperationName;
  /** What limits count it as; undefined: it is not billed, and no limit counts it. */
  readonly operation: Operation | undefined;
  /** What a replica needs for it. */
  needed(request: Q): FeatureSet;
  /** How long the prompt is that is billed. */
  size(request: Q): PromptBytes;
  /** The most inputs that each may fill the model's context. */
  inputs(request: Q): number;
  /** The member of the request that holds what may be too long. */
  readonly param: string;
  /** Holds it against its own rules and those of the pool that would serve it. */
  plan(request: Q, entry: ModelEntry): PoolPlan | WeirError;
  /** Why none of the replicas, as far as they are known, can ever serve it. */
  lacking(request: Q, sets: readonly FeatureSet[]): WeirError;
  /** Whether the gateway answers itself, and no engine hears of it. Undefined: never. */
  readonly answersHere?: (attempt: UnaryAttempt<Q>, place: UnaryPlace) => boolean;
  /**
   * Asks a replica, or answers here. Undefined: its driver can't, which its features should have told.
   * @throws a WeirError for what can't be asked there.
   */
  ask(driver: Driver, attempt: UnaryAttempt<Q>, place: UnaryPlace, signal: AbortSignal): Promise<A> | undefined;
  /** The tokens of the prompt as the engine says; undefined: it does not. */
  tokens(answer: A): number | undefined;
  /** What the caller gets. */
  respond(request: Q, answer: A, started: Started, usage: Usage): R;
}
