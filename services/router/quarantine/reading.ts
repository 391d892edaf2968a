import { createHash, type Hash } from "node:crypto";

/** What is read in one go: a tenth of a millisecond of work. Always as much, because a character may be cut in two there. */
const stepLength = 65_536;
/** What the shortest leaf counts as. */
const leastLength = 256;

/** Something that is being read, step by step. */
export class Reading {
  readonly #hash: Hash = createHash("sha256");
  readonly #leaves: Iterator<string | Uint8Array>;
  #rest: string | Uint8Array = "";

  constructor(leaves: Iterable<string | Uint8Array>) {
    this.#leaves = leaves[Symbol.iterator]();
  }

  /** Takes the next step. Returns about how many bytes it read, or the digest when there are no more. */
  step(): number | string {
    if (this.#rest.length === 0) {
      const next = this.#leaves.next();
      if (next.done) return this.#hash.digest("base64");
      // Where one ends and another begins is part of what is said.
      this.#hash.update(`${typeof next.value} ${next.value.length} `);
      this.#rest = next.value;
    }
    const rest = this.#rest;
    const length = Math.min(rest.length, stepLength);
    if (typeof rest === "string") {
      this.#hash.update(rest.slice(0, length));
      this.#rest = rest.slice(length);
    } else {
      this.#hash.update(rest.subarray(0, length));
      this.#rest = rest.subarray(length);
    }
    return Math.max(length, leastLength);
  }
}
