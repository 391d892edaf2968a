import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Limit } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { fail } from "../runtime/errors/fail.ts";
import { Counter, kindOf, type StoreTime } from "./counter.ts";

/** What every limit that was named has counted. */
export class CounterBook {
  readonly #time: StoreTime;
  readonly #onGone: (counter: Counter) => void;
  readonly #byLimit = new Map<string, Counter>();

  /** @param onGone told of counters that are no more. */
  constructor(time: StoreTime, onGone: (counter: Counter) => void) {
    this.#time = time;
    this.#onGone = onGone;
  }

  get(limitId: string): Counter | undefined {
    return this.#byLimit.get(limitId);
  }

  /**
   * The counter of a limit, which goes by the newest version that it was shown, as of now.
   *
   * @param keep false: it is only looked at, and one that was not there is not kept.
   * @throws WeirError STORE_UNAVAILABLE if nobody can read the limit.
   */
  see(limit: Limit, keep = true): Counter {
    try {
      let counter = this.#byLimit.get(limit.id);
      // The kind of a limit never changes: another one under its id is another limit.
      if (counter !== undefined && counter.kind !== kindOf(limit) && limit.revision > counter.revision) {
        this.forget(limit.id);
        counter = undefined;
      }
      if (counter === undefined) {
        counter = new Counter(limit, this.#time);
        if (keep) this.#byLimit.set(limit.id, counter);
      }
      counter.see(limit);
      counter.refresh();
      return counter;
    } catch (cause) {
      // A row that nobody can read closes its own limit only.
      throw fail(ErrorReason.STORE_UNAVAILABLE, {}, { cause });
    }
  }

  /** What a limit is since now, also where its revision is lower than before. */
  believe(limit: Limit): Counter | undefined {
    const counter = this.#byLimit.get(limit.id);
    if (counter === undefined) return undefined;
    counter.revision = limit.revision - 1n;
    try {
      return this.see(limit);
    } catch {
      // Every call that names it fails by it.
      return undefined;
    }
  }

  forget(limitId: string): void {
    const counter = this.#byLimit.get(limitId);
    if (counter === undefined) return;
    counter.gone = true;
    this.#byLimit.delete(limitId);
    this.#onGone(counter);
  }
}
