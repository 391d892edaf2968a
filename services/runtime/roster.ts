/** What may stand in a {@link Roster}, in one at a time. */
export interface Rostered {
  /** Its place there; below 0: it stands in none. The roster's. */
  place: number;
}

/**
 * Those that are there now, in no order: requests that run, say.
 *
 * A Set that as many enter as leave replaces its table now and then, and every table that it replaced keeps what it held,
 * with all that hangs on it, and the next table, from V8's quick collections: they then copied a fifth of everything that
 * requests ever made, which was the largest cost of a request. Here places are taken over by the last one.
 */
export class Roster<T extends Rostered> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(one: T): void {
    if (one.place >= 0) return;
    one.place = this.#all.length;
    this.#all.push(one);
  }

  /** Nothing happens to who is not there. */
  delete(one: T): void {
    if (this.#all[one.place] !== one) return;
    const last = this.#all.pop();
    if (last !== undefined && last !== one) {
      this.#all[one.place] = last;
      last.place = one.place;
    }
    one.place = -1;
  }

  /** Those that are there at this moment: they may leave meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return this.#all.slice().values();
  }
}
