import type { Timer } from "../../runtime/clock.ts";
import type { FeatureSet } from "../requirement.ts";
import type { Applicant } from "./applicant.ts";
import { type Waiting, WaitingLine } from "./waiting-line.ts";

/** A place in a line. */
export interface Ticket {
  readonly applicant: Applicant;
  /** Orders those who wait in different lines for the same replicas. */
  readonly arrival: number;
  /**
   * Leaves the line, at once and without a word to the applicant.
   *
   * @returns false if it had left before.
   */
  leave(): boolean;
}

/** What a line needs to know of who joins it. */
export interface Joining {
  readonly applicant: Applicant;
  readonly arrival: number;
  readonly atFront: boolean;
  /** Runs while it waits. */
  readonly timer: Timer;
  /** Called once, when it has left. */
  readonly left: () => void;
}

/** Those who wait for one model with the same features: whatever place suits one suits all, but for those they tried. */
export class Line {
  readonly key: string;
  readonly modelId: string;
  readonly needed: FeatureSet;
  /** Runs while no replica is open for the line. */
  closedTimer: Timer | undefined;
  readonly #places = new WaitingLine<Ticket>();

  constructor(key: string, modelId: string, needed: FeatureSet) {
    this.key = key;
    this.modelId = modelId;
    this.needed = needed;
  }

  get empty(): boolean {
    return this.#places.length === 0;
  }

  /** Puts an applicant into the line. */
  admit({ applicant, arrival, atFront, timer, left }: Joining): Ticket {
    const ticket: Ticket = {
      applicant,
      arrival,
      leave: () => {
        if (place.line === undefined) return false;
        this.#places.remove(place);
        timer.cancel();
        left();
        return true;
      },
    };
    const place: Waiting<Ticket> = atFront ? this.#places.prepend(ticket) : this.#places.append(ticket);
    return ticket;
  }

  /** Those who wait now, from the first to the last: the list stays as it is while they leave. */
  get tickets(): readonly Ticket[] {
    return Array.from(this);
  }

  /** From the first to the last; nobody may leave meanwhile. */
  *[Symbol.iterator](): Iterator<Ticket> {
    for (let place = this.#places.head; place !== undefined; place = place.next) yield place.value;
  }
}
