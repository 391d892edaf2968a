import { Worker } from "node:worker_threads";
import type { FromRenderer, ToRenderer } from "./rendering-messages.ts";
import type { Rendered } from "./rendering.ts";

/** Renders on a thread of its own, which is started with the first conversation. */
export class RenderingThread implements AsyncDisposable {
  readonly #waiting = new Map<number, (rendered: Rendered) => void>();
  #worker: Worker | undefined;
  #numbers = 0;
  #closed = false;

  render(order: Omit<ToRenderer, "number">): Promise<Rendered> {
    return new Promise((done) => {
      if (this.#closed) return done(gone);
      this.#worker ??= this.#start();
      this.#numbers += 1;
      this.#waiting.set(this.#numbers, done);
      this.#worker.postMessage({ ...order, number: this.#numbers } satisfies ToRenderer);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#lost();
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(new URL("./rendering-worker.ts", import.meta.url), { name: "prompts" });
    // It does nothing by itself, and a process that has nothing else to do may end.
    worker.unref();
    worker.on("message", ({ number, rendered }: FromRenderer) => {
      this.#waiting.get(number)?.(rendered);
      this.#waiting.delete(number);
    });
    worker.on("error", () => {
      if (worker === this.#worker) this.#lost();
    });
    return worker;
  }

  /** What it was given is lost with it; the next conversation gets a new one. */
  #lost(): void {
    this.#worker = undefined;
    for (const done of this.#waiting.values()) done(gone);
    this.#waiting.clear();
  }
}

const gone: Rendered = { kind: "failed", problem: "it could not be rendered" };
