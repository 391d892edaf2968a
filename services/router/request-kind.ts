import type { Counts } from "../drivers/events.ts";
import type { Driver } from "../drivers/driver.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import type { AnswerBounds } from "./attempt.ts";
import type { ModelEntry } from "./fleet/fleet.ts";
import type { Seat } from "./fleet/seat.ts";
import type { PoolPlan } from "./plan.ts";
import type { Content } from "./quarantine/content.ts";
import type { Ask } from "./quota/desk.ts";
import type { FeatureSet } from "./requirement.ts";
import type { Tried } from "./tries.ts";
import type { Dispatch } from "./usage/held-sink.ts";
import type { OperationName } from "./usage/usage-facts.ts";

/** What a request may use: how limits count it, what it is expected to use, and what it can't do without. */
export type Uses = Pick<Ask, "operation" | "expected" | "least">;

/**
 * What a request asks for, as its `Lifecycle` sees it: the steps are the same for all, and this is what differs in them.
 * `P` is what a pool gets of it, `E` what its caller hears. One request has one of its own.
 */
export interface RequestKind<P extends PoolPlan, E> {
  readonly name: OperationName;
  /** The model as the caller named it. */
  readonly modelName: string;
  /** Hash of what requests have in common that should meet in one place; 0: nothing. */
  readonly affinity: number;
  /** Holds it against its own rules and those of the pool that would serve it. */
  plan(entry: ModelEntry): P | WeirError;
  /** What the quarantine knows it by. */
  content(plan: P): Content;
  /** What a replica needs for it. */
  needed(plan: P): FeatureSet;
  /** Undefined: no limit counts it. */
  uses(plan: P): Uses | undefined;
  /** Why none of the model's replicas, as far as they are known, can ever serve it. */
  lacking(seats: readonly Seat[], needed: FeatureSet): WeirError;
  /** With the models that may serve while the one that was asked for can't, in order. */
  fallbacks(asked: P): Iterable<P>;
  /** Gets ready for a replica what takes a while. Undefined: {@link build} may follow at once. */
  prepare(plan: P, seat: Seat): Promise<void> | undefined;
  /**
   * The try at a replica, which tells the lifecycle how it goes once it is started.
   *
   * @param id ours, of this try.
   * @param bounds what the caller's limits have for the answer.
   */
  build(plan: P, seat: Seat, driver: Driver, id: string, bounds: AnswerBounds): (Tried & Dispatch) | WeirError;
  /** No try will follow: what they are built from need not stay in memory. */
  forget(): void;
  /** How its caller is told of a failure, after what it heard before; undefined: as the call's own. */
  failure(error: WeirError, counts: Counts | undefined): E | undefined;
}
