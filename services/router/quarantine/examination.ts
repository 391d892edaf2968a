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

/**
 * A request that is held back, because what it asks for looks like something that engines went away with.
 *
 * - **reading**: its content is being read. Refused or not: *over*. Whether it has to run under watch is asked anew then.
 * - **waiting**: for its turn to run under watch: *watched*. What runs may clear or condemn the content meanwhile: *over*.
 *   The wait is too long: *over*, with an error that may be tried again.
 * - **watched**: it runs, the only suspect of its pool, until it leaves; or longer, *over*, when its time is up.
 * - **over**: it holds nothing.
 */
export class Examination {
  readonly content: Content;
  /** Where it runs under watch, or waits to; undefined: it is read. */
  readonly poolId: string | undefined;
  phase: "reading" | "waiting" | "watched" | "over" = "reading";
  readonly #examined: Examined;
  readonly #left: () => void;
  #timer: Timer | undefined;

  /** @param left called once, when it is over. */
  constructor(content: Content, poolId: string | undefined, examined: Examined, left: () => void) {
    this.content = content;
    this.poolId = poolId;
    this.#examined = examined;
    this.#left = left;
  }

  /** Its turn to run under watch has not come. */
  wait(clock: Clock, waitMaxMs: number, late: () => WeirError): void {
    this.phase = "waiting";
    this.#timer = clock.setTimer(waitMaxMs, () => this.bar(late()));
  }

  /** Its turn has come. */
  watch(): void {
    this.phase = "watched";
    this.#timer?.cancel();
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
    this.#left();
  }
}
