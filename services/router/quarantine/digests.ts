import { Turns } from "../../runtime/turns.ts";
import type { Content } from "./content.ts";
import { Reading } from "./reading.ts";

/** Bytes that are read in one turn of the event loop: some milliseconds of work at the most. */
const sliceBytes = 512 * 1_024;
/** What the smallest content counts as: what follows upon its digest takes time, too. */
const leastBytes = 16 * 1_024;
/**
 * Contents that wait to be read, and of one project. An engine that dies takes some hundreds of requests with it, which
 * are read, and then come again.
 */
const waitingMax = 2_048;
const waitingMaxOfProject = 512;

interface Job {
  readonly content: Content;
  readonly done: Set<() => void>;
}

interface Current {
  readonly job: Job;
  readonly reading: Reading;
}

/** Reads contents in turns of the event loop that are free for it, a slice at a time. Projects take turns. */
export class Digests {
  readonly #schedule: (run: () => void) => void;
  readonly #turns = new Turns<Job>();
  readonly #jobs = new Map<Content, Job>();
  #current: Current | undefined;
  #scheduled = false;

  /** @param schedule runs it once, in a later turn of the event loop. */
  constructor(schedule: (run: () => void) => void) {
    this.#schedule = schedule;
  }

  /** Too many wait to be read: undefined, or how many that is. One that waits already needs no room. */
  full(content: Content): number | undefined {
    if (this.#jobs.has(content)) return undefined;
    const { projectId } = content;
    if (this.#turns.count(projectId) >= waitingMaxOfProject) return waitingMaxOfProject;
    return this.#turns.size >= waitingMax ? waitingMax : undefined;
  }

  /** Calls `done` in a later turn, when the content has its digest, and all of its project that came before have theirs. */
  add(content: Content, done: () => void): void {
    const known = this.#jobs.get(content);
    if (known) return void known.done.add(done);
    const job: Job = { content, done: new Set([done]) };
    this.#jobs.set(content, job);
    this.#turns.add(content.projectId, job);
    if (!this.#scheduled) this.#next();
  }

  /** `done` need not hear of it any more: a content that nobody else waits for is not read. */
  drop(content: Content, done: () => void): void {
    const job = this.#jobs.get(content);
    if (!job?.done.delete(done) || job.done.size > 0) return;
    this.#jobs.delete(content);
    this.#turns.drop(content.projectId, job);
    if (this.#current?.job === job) this.#current = undefined;
  }

  #next(): void {
    this.#scheduled = true;
    this.#schedule(() => {
      this.#scheduled = false;
      this.#slice();
      if (!this.#scheduled && this.#jobs.size > 0) this.#next();
    });
  }

  #slice(): void {
    for (let left = sliceBytes; left > 0; ) {
      const current = this.#current ?? this.#begin();
      if (!current) return;
      const read = current.reading.step();
      if (typeof read === "number") left -= read;
      else {
        left -= leastBytes;
        this.#end(current.job, read);
      }
    }
  }

  #begin(): Current | undefined {
    const job = this.#turns.take();
    this.#current = job && { job, reading: new Reading(job.content.leaves()) };
    return this.#current;
  }

  #end({ content, done }: Job, digest: string): void {
    this.#current = undefined;
    this.#jobs.delete(content);
    if (content.digest === undefined) content.read(digest);
    for (const each of done) each();
  }
}
