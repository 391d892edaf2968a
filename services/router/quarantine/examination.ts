import type { Clock, Timer } from "../../runtime/clock.ts";
import type { WeirError } from "../../runtime/errors/fail.ts";
import type { Content } from "./content.ts";

/** Whose request is held back. It hears one of the two, once, unless it leaves before. */
export interface Examined {
  /** It may go on. */
  cleared(): void;
  /** No engine is to hear of it. */
  barred(error: WeirError): void;
}

/** Who examines. */
export interface ExaminationOwner {
  /** A replica has its request. */
  runs?(): void;
  /** Called once, when it is over. */
  left(): void;
}

/**
 * A request that is held back, because what it asks for looks like something that engines went away with.
 *
 * - **reading**: its content is being read. Refused or not: *over*. Whether it has to run under watch is asked anew then.
 * - **waiting**: for its turn to run under watch: *watched*. What runs may clear or condemn the content meanwhile: *over*.
 *   The wait is too long: *over*, with an error that may be tried again.
 * - **watched**: its turn has come, and no other suspect of the pool has one, until it leaves. Its time is up, and others
 *   wait: *late*.
 * - **late**: it runs on without a turn until it leaves, and casts doubt on whoever runs under watch where it is.
 * - **over**: it holds nothing.
 */
export class Examination {
  readonly content: Content;
  /** Where it runs under watch, or waits to; undefined: it is read. */
  readonly poolId: string | undefined;
  phase: "reading" | "waiting" | "watched" | "late" | "over" = "reading";
  /** The replica that has its request, or had it last. */
  replicaId: string | undefined;
  readonly #examined: Examined;
  readonly #owner: ExaminationOwner;
  #timer: Timer | undefined;

  constructor(content: Content, poolId: string | undefined, examined: Examined, owner: ExaminationOwner) {
    this.content = content;
    this.poolId = poolId;
    this.#examined = examined;
    this.#owner = owner;
  }

  /** Its turn to run under watch has not come. */
  wait(clock: Clock, waitMaxMs: number, expired: () => void): void {
    this.phase = "waiting";
    this.#timer = clock.setTimer(waitMaxMs, expired);
  }

  /** Its turn has come. */
  watch(): void {
    this.phase = "watched";
    this.#timer?.cancel();
  }

  /** A replica is about to get its request. */
  runs(replicaId: string): void {
    this.replicaId = replicaId;
    this.#owner.runs?.();
  }

  /** Its time is up, and others wait. */
  outstay(): void {
    this.phase = "late";
  }

  /** The request may go on; under watch it still holds its turn. */
  clear(): void {
    if (this.phase === "over") return;
    if (this.phase !== "watched") this.leave();
    this.#examined.cleared();
  }

  bar(error: WeirError): void {
    if (this.phase === "over") return;
    this.leave();
    this.#examined.barred(error);
  }

  /** The request has ended, or need not be held back. Twice is as good as once. */
  leave(): void {
    if (this.phase === "over") return;
    this.phase = "over";
    this.#timer?.cancel();
    this.#owner.left();
  }
}
