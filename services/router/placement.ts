import { WeirError } from "../runtime/errors/fail.ts";
import type { Applicant } from "./admission/applicant.ts";
import type { Ticket } from "./admission/line.ts";
import { firstOpen } from "./fallback.ts";
import type { Seat } from "./fleet/seat.ts";
import type { LifecycleDeps } from "./generation-deps.ts";
import type { PoolPlan } from "./plan.ts";
import type { Examined } from "./quarantine/examination.ts";
import type { RequestKind } from "./request-kind.ts";
import type { FeatureSet } from "./requirement.ts";
import type { Tries } from "./tries.ts";

/** What is told of it by the request's kind. */
type Seeking<P extends PoolPlan> = Pick<RequestKind<P, unknown>, "modelName" | "affinity" | "lacking" | "fallbacks">;

/** Whose place it is. Each time that it seeks one it hears one of the two, at once or later, unless it stops waiting. */
export interface Placed {
  /** An engine may hear of it, there. */
  placed(seat: Seat): void;
  /** There is none for it. */
  unplaced(error: WeirError): void;
}

/**
 * The place of one request at a replica. It has **none**, until it **seeks** one: of the model that was asked for, or of a
 * fallback while none of the model's is open. One is free, and the quarantine lets the request have it: it **holds** it,
 * until it leaves. All are busy: it **waits** in the line, at the front if it had one before. It is held back: it gives the
 * place to others meanwhile, **waits**, and seeks anew.
 */
export class Placement<P extends PoolPlan> implements Applicant, Examined {
  readonly #deps: LifecycleDeps;
  readonly #kind: Seeking<P>;
  readonly #tries: Tries;
  readonly #owner: Placed;
  #asked: P | undefined;
  #plan: P | undefined;
  #needed: FeatureSet = 0;
  #ticket: Ticket | undefined;
  #seat: Seat | undefined;
  #hadSeat = false;
  #waitsFromMs: number | undefined;
  #queuedMs = 0;

  constructor(deps: LifecycleDeps, kind: Seeking<P>, tries: Tries, owner: Placed) {
    this.#deps = deps;
    this.#kind = kind;
    this.#tries = tries;
    this.#owner = owner;
  }

  /** With the model that is to serve it now; undefined before it was {@link open}ed. */
  get plan(): P | undefined {
    return this.#plan;
  }

  get modelId(): string {
    return this.#plan?.entry.model.id ?? "";
  }

  get modelName(): string {
    return this.#kind.modelName;
  }

  get needed(): FeatureSet {
    return this.#needed;
  }

  get affinity(): number {
    return this.#kind.affinity;
  }

  get tried(): readonly Seat["replica"][] {
    return this.#tries.replicas;
  }

  /** How long it has waited, or was held back: all its waits together that are over. */
  get queuedMs(): number {
    return this.#queuedMs;
  }

  /** It is known what is asked for. */
  open(asked: P, needed: FeatureSet): void {
    this.#asked = asked;
    this.#plan = asked;
    this.#needed = needed;
  }

  seek(): void {
    this.#endWait();
    const found = this.#deps.admission.take(this);
    if (found === "unsupported")
      return this.#owner.unplaced(this.#kind.lacking(this.#plan?.entry.seats ?? [], this.#needed));
    const open = found === "closed" ? this.#takeOfFallback() : found;
    if (typeof open !== "string") return this.#enter(open);
    if (open === "closed" && this.#tries.lastError) return this.#owner.unplaced(this.#tries.lastError);
    this.#wait();
  }

  granted(seat: Seat): void {
    this.#endWait();
    this.#enter(seat);
  }

  refused(error: WeirError): void {
    this.#endWait();
    // What broke the last try says more than that no other came.
    this.#owner.unplaced(this.#tries.lastError ?? error);
  }

  /** The quarantine holds it back no more. Others may have the place by now. */
  cleared(): void {
    this.seek();
  }

  barred(error: WeirError): void {
    this.#owner.unplaced(error);
  }

  /** Leaves the line, if it stands in one. */
  stopWaiting(): void {
    this.#ticket?.leave();
    this.#endWait();
  }

  /**
   * Gives the place back, once; whoever gets it may make others leave before this returns.
   *
   * @param over the engine could not be stopped: resolves when it has ended.
   */
  leave(over: Promise<void> | undefined): void {
    const seat = this.#seat;
    if (!seat) return;
    this.#seat = undefined;
    if (over) void over.then(() => this.#deps.admission.leave(seat));
    else this.#deps.admission.leave(seat);
  }

  #takeOfFallback(): Seat | "busy" | "closed" {
    const before = this.#plan;
    const open = firstOpen(this.#asked ? this.#kind.fallbacks(this.#asked) : [], (plan) => {
      this.#plan = plan;
      return this.#deps.admission.take(this);
    });
    this.#plan = open?.plan ?? before;
    return open?.found ?? "closed";
  }

  #enter(seat: Seat): void {
    this.#seat = seat;
    this.#hadSeat = true;
    const held = this.#tries.examine(seat.replica, this);
    if (held === undefined) return this.#owner.placed(seat);
    if (held instanceof WeirError) return this.#owner.unplaced(held);
    this.#beginWait();
    this.leave(undefined);
  }

  #wait(): void {
    this.#beginWait();
    const ticket = this.#deps.admission.wait(this, this.#hadSeat);
    if (ticket instanceof WeirError) this.#owner.unplaced(ticket);
    else this.#ticket = ticket;
  }

  #beginWait(): void {
    this.#waitsFromMs = this.#deps.clock.monotonicMs();
    this.#tries.usage?.waits();
  }

  #endWait(): void {
    this.#ticket = undefined;
    if (this.#waitsFromMs === undefined) return;
    this.#queuedMs += this.#deps.clock.monotonicMs() - this.#waitsFromMs;
    this.#waitsFromMs = undefined;
  }
}
