/** Jobs that wait for one another. Owners take turns: who asks much waits for itself. */
export class Turns<Job> {
  /** By owner, the one whose turn is next first. */
  readonly #lines = new Map<string, Set<Job>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Jobs of one owner. */
  count(owner: string): number {
    return this.#lines.get(owner)?.size ?? 0;
  }

  get empty(): boolean {
    return this.#size === 0;
  }

  add(owner: string, job: Job): void {
    const line = this.#lines.get(owner) ?? new Set();
    if (!line.has(job)) this.#size += 1;
    this.#lines.set(owner, line.add(job));
  }

  /** Nobody waits for it any more. One that does not stand here, or no more, is none of ours. */
  drop(owner: string, job: Job): void {
    const line = this.#lines.get(owner);
    if (!line?.delete(job)) return;
    this.#size -= 1;
    if (line.size === 0) this.#lines.delete(owner);
  }

  /** The job whose turn it is. Its owner goes to the end. */
  take(): Job | undefined {
    for (const [owner, line] of this.#lines) {
      this.#lines.delete(owner);
      for (const job of line) {
        line.delete(job);
        this.#size -= 1;
        if (line.size > 0) this.#lines.set(owner, line);
        return job;
      }
    }
    return undefined;
  }

  /** All that waited: nothing does any more. */
  clear(): Job[] {
    const waiting = [...this.#lines.values()].flatMap((line) => [...line]);
    this.#lines.clear();
    this.#size = 0;
    return waiting;
  }
}
