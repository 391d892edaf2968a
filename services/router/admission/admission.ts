import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { Fleet, ModelEntry } from "../fleet/fleet.ts";
import { type None, pick } from "../fleet/picker.ts";
import type { Seat } from "../fleet/seat.ts";
import { covers, requiredOf } from "../requirement.ts";
import type { Applicant } from "./applicant.ts";
import { Line, type Ticket } from "./line.ts";
import { whyClosed } from "./why-closed.ts";

export interface AdmissionOptions {
  readonly clock: Clock;
  /** From 0 to 1. */
  readonly chance: () => number;
  readonly fleet: Pick<Fleet, "resolve" | "leave">;
  /** Applicants that wait, over all models. */
  readonly queueMax: number;
  /** The longest wait. */
  readonly queueTimeoutMs: number;
  /** An applicant waits until the returned function is called. */
  readonly queued: (modelId: string) => () => void;
}

/** An engine that restarts, or a gateway that has just started, may be ready in a moment: this long is waited for one. */
const closedWaitMs = 2_000;
/** Places come free all the time: a refused caller may be lucky this soon. */
const retryAfterMs = 1_000;

/**
 * Places at replicas. Whoever asks takes a free one at once; else it may wait, first come, first served among those
 * that want the same, in lines whose length and time are bounded. Nobody who waits could use a place that is free:
 * places are handed on as they come back and when the fleet changes.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  /** By model and features: all in one line can use the same places. */
  readonly #lines = new Map<string, Line>();
  readonly #due = new Set<string>();
  #waiting = 0;
  #arrivals = 0;
  #handing = false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Applicants that wait now. */
  get waiting(): number {
    return this.#waiting;
  }

  /** A place that is free now, taken; or why there is none. */
  take(applicant: Applicant): Seat | None {
    const entry = this.#options.fleet.resolve(applicant.modelId);
    const found = pick(entry?.seats ?? [], applicant, this.#options.chance);
    if (typeof found !== "string") found.replica.enter();
    return found;
  }

  /**
   * Lets an applicant wait that found none.
   *
   * @param again it was admitted before, and lost its place: it goes to the front.
   * @returns its place in the line, or QUEUE_FULL.
   */
  wait(applicant: Applicant, again: boolean): Ticket | WeirError {
    const { clock, queueMax, queueTimeoutMs, queued } = this.#options;
    if (!again && this.#waiting >= queueMax) {
      const facts = { model: applicant.modelName, queue_max: String(queueMax), retry_after_ms: String(retryAfterMs) };
      return fail(ErrorReason.QUEUE_FULL, facts, { retryAfterMs });
    }
    const line = this.#line(applicant);
    const unqueue = queued(applicant.modelId);
    this.#waiting += 1;
    const ticket = line.admit({
      applicant,
      arrival: again ? 0 : ++this.#arrivals,
      atFront: again,
      timer: clock.setTimer(queueTimeoutMs, () => this.#expire(ticket, line)),
      left: () => {
        this.#waiting -= 1;
        unqueue();
        if (line.empty) this.#drop(line);
      },
    });
    this.#watchClosed(line);
    return ticket;
  }

  /** Gives a place back, for whoever has waited longest. */
  leave(seat: Seat): void {
    this.#options.fleet.leave(seat.replica);
    if (this.#waiting > 0) this.#handOn(seat.replica.standing.poolId);
  }

  /** Replicas or models of a pool changed. */
  changed(poolId: string): void {
    if (this.#waiting === 0) return;
    this.#handOn(poolId);
    for (const line of Array.from(this.#lines.values())) {
      // A model that is gone has no pool; it may have been in this one.
      if ((this.#entry(line.modelId)?.pool.id ?? poolId) !== poolId) continue;
      this.#refuseStranded(line);
      if (!line.empty) this.#watchClosed(line);
    }
  }

  #line({ modelId, needed }: Applicant): Line {
    const key = `${modelId} ${needed}`;
    const known = this.#lines.get(key);
    if (known) return known;
    const line = new Line(key, modelId, needed);
    this.#lines.set(key, line);
    return line;
  }

  #drop(line: Line): void {
    line.closedTimer?.cancel();
    this.#lines.delete(line.key);
  }

  #entry(modelId: string): ModelEntry | undefined {
    return this.#options.fleet.resolve(modelId);
  }

  /**
   * Hands free places of a pool on. Who gets one may give it back before it returns (its engine is gone, say): then the
   * round goes on, and not one deeper.
   */
  #handOn(poolId: string): void {
    this.#due.add(poolId);
    if (this.#handing) return;
    this.#handing = true;
    try {
      for (const pool of this.#due) {
        while (this.#handOne(pool));
        this.#due.delete(pool);
      }
    } finally {
      this.#handing = false;
    }
  }

  #handOne(poolId: string): boolean {
    let first: Ticket | undefined;
    let its: Seat | undefined;
    for (const line of this.#lines.values()) {
      const entry = this.#entry(line.modelId);
      if (entry?.pool.id !== poolId) continue;
      const { seats } = entry;
      for (const ticket of line) {
        if (first !== undefined && ticket.arrival >= first.arrival) break;
        const found = pick(seats, ticket.applicant, this.#options.chance);
        if (typeof found !== "string") {
          first = ticket;
          its = found;
          break;
        }
        // All who have tried nothing want the same: what the first cannot have, the others cannot.
        if (ticket.applicant.tried.length === 0) break;
      }
    }
    if (first === undefined || its === undefined) return false;
    its.replica.enter();
    first.leave();
    first.applicant.granted(its);
    return true;
  }

  #expire(ticket: Ticket, line: Line): void {
    if (!ticket.leave()) return;
    const { applicant } = ticket;
    if (!this.#isOpen(line)) return applicant.refused(this.#noReplica(applicant));
    const waited = String(this.#options.queueTimeoutMs);
    const facts = { model: applicant.modelName, waited_ms: waited, retry_after_ms: String(retryAfterMs) };
    applicant.refused(fail(ErrorReason.QUEUE_TIMEOUT, facts, { retryAfterMs }));
  }

  /** Those who came back and whose last untried replica went down wait for nothing. */
  #refuseStranded(line: Line): void {
    const seats = this.#entry(line.modelId)?.seats ?? [];
    for (const ticket of line.tickets) {
      const { applicant } = ticket;
      if (applicant.tried.length === 0) continue;
      if (pick(seats, applicant, this.#options.chance) !== "closed") continue;
      if (ticket.leave()) applicant.refused(this.#noReplica(applicant));
    }
  }

  /** A line that no replica is open for is sent away when that stays so. */
  #watchClosed(line: Line): void {
    if (this.#isOpen(line)) {
      line.closedTimer?.cancel();
      line.closedTimer = undefined;
      return;
    }
    line.closedTimer ??= this.#options.clock.setTimer(closedWaitMs, () => {
      line.closedTimer = undefined;
      for (const ticket of line.tickets)
        if (ticket.leave()) ticket.applicant.refused(this.#noReplica(ticket.applicant));
    });
  }

  #isOpen({ modelId, needed }: Line): boolean {
    const seats = this.#entry(modelId)?.seats ?? [];
    const required = requiredOf(needed, seats);
    return seats.some((seat) => seat.ready && covers(seat.features, required));
  }

  #noReplica({ modelId, modelName }: Applicant): WeirError {
    const afterMs = closedWaitMs;
    const facts = { model: modelName, why: whyClosed(this.#entry(modelId)), retry_after_ms: String(afterMs) };
    return fail(ErrorReason.NO_REPLICA, facts, { retryAfterMs: afterMs });
  }
}
