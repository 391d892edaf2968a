import { Worker } from "node:worker_threads";
import { Turns } from "../../runtime/turns.ts";
import type { FromRenderer, ToRenderer } from "./rendering-messages.ts";
import type { Rendered } from "./rendering.ts";

/** A conversation that is being rendered. */
export interface Rendering {
  readonly rendered: Promise<Rendered>;
  /** Nobody waits for it any more. */
  readonly drop: () => void;
}

interface Job {
  readonly order: Omit<ToRenderer, "number">;
  readonly done: (rendered: Rendered) => void;
}

/**
 * Renders on a thread of its own, which is started with the first conversation. It is given one at a time; the others wait
 * here, where they can be dropped. Owners take turns: who asks much waits for itself.
 */
export class RenderingThread implements AsyncDisposable {
  readonly #turns = new Turns<Job>();
  #running: Job | undefined;
  #worker: Worker | undefined;
  #numbers = 0;
  #closed = false;

  render(owner: string, order: Job["order"]): Rendering {
    const { promise, resolve } = Promise.withResolvers<Rendered>();
    const job: Job = { order, done: resolve };
    if (this.#closed) resolve(gone);
    else {
      this.#turns.add(owner, job);
      this.#next();
    }
    return { rendered: promise, drop: () => this.#turns.drop(owner, job) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    const waiting = this.#turns.clear();
    this.#lost();
    for (const { done } of waiting) done(gone);
    await worker?.terminate();
  }

  #next(): void {
    if (this.#running) return;
    const job = this.#turns.take();
    if (!job) return;
    this.#running = job;
    this.#numbers += 1;
    this.#worker ??= this.#start();
    this.#worker.postMessage({ ...job.order, number: this.#numbers } satisfies ToRenderer);
  }

  #start(): Worker {
    const worker = new Worker(new URL("./rendering-worker.ts", import.meta.url), { name: "prompts" });
    // It does nothing by itself, and a process that has nothing else to do may end.
    worker.unref();
    worker.on("message", ({ number, rendered }: FromRenderer) => {
      if (number === this.#numbers) this.#finish(rendered);
    });
    worker.on("error", () => {
      if (worker === this.#worker) this.#lost();
    });
    return worker;
  }

  /** What it was given is lost with it; the next conversation gets a new one. */
  #lost(): void {
    this.#worker = undefined;
    this.#finish(gone);
  }

  #finish(rendered: Rendered): void {
    const job = this.#running;
    this.#running = undefined;
    job?.done(rendered);
    this.#next();
  }
}

const gone: Rendered = { kind: "failed", problem: "it could not be rendered" };
