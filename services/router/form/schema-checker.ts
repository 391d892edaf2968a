import { Worker } from "node:worker_threads";
import { LRUCache } from "lru-cache";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { Turns } from "../../runtime/turns.ts";
import type { Problem } from "./choice-form.ts";
import type { FromChecker, ToChecker } from "./schema-messages.ts";
import type { SchemaProblem } from "./schema-rules.ts";

/** Holds answers to schemas that callers wrote, on a thread of its own. Owners take turns: who asks much waits for itself. */
export interface SchemaChecker extends AsyncDisposable {
  /** What is wrong with a schema, if that is known by now; undefined: it has to be prepared. */
  known(schema: string): SchemaProblem | "good" | undefined;
  /** What is wrong with a schema; undefined: nothing. Rejects with INTERNAL where that can't be found out. */
  prepare(owner: string, schema: string): Promise<SchemaProblem | undefined>;
  /** What is wrong with an answer; undefined: it fits. `text` is JSON, or is taken as a string itself. */
  check(owner: string, schema: string, kind: "json" | "text", text: string): Promise<Problem | undefined>;
}

/** A longer schema is refused. OpenAI's own take about half as much. */
const schemaLengthMax = 262_144;
/** Far beyond what any honest schema takes, also on a busy machine. */
const timeMaxMs = 500;
/** In mebibytes: the thread ends beyond that, and the process does not. */
const memoryMax = 128;

const tooLong: SchemaProblem = { path: "", problem: `is longer than ${schemaLengthMax} characters` };
const tooSlow: SchemaProblem = { path: "", problem: "takes too long to be checked" };

/** Undefined: there is no thread to find it out. */
type Told = FromChecker | undefined;

interface Job extends ToChecker {
  readonly done: (told: Told) => void;
}

/**
 * Builds it. One schema or answer is looked at at a time, the others wait: as many as requests run. One that takes
 * longer than its time, or more memory than there is for it, ends with the thread, and its schema is refused from then on;
 * the next one gets a new thread.
 */
export function createSchemaChecker(clock: Clock): SchemaChecker {
  return new ThreadedChecker(clock);
}

class ThreadedChecker implements SchemaChecker {
  readonly #clock: Clock;
  readonly #seen = new LRUCache<string, SchemaProblem | "good">({ max: 256 });
  readonly #turns = new Turns<Job>();
  #running: Job | undefined;
  #timer: Timer | undefined;
  #worker: Worker | undefined;
  #ready = false;
  #numbers = 0;
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  known(schema: string): SchemaProblem | "good" | undefined {
    return schema.length > schemaLengthMax ? tooLong : this.#seen.get(schema);
  }

  async prepare(owner: string, schema: string): Promise<SchemaProblem | undefined> {
    const known = this.known(schema);
    if (known) return known === "good" ? undefined : known;
    const told = await this.#ask(owner, schema, undefined);
    if (told?.kind !== "schema") throw fail(ErrorReason.INTERNAL);
    this.#seen.set(schema, told.problem ?? "good");
    return told.problem;
  }

  async check(owner: string, schema: string, kind: "json" | "text", text: string): Promise<Problem | undefined> {
    const told = await this.#ask(owner, schema, { kind, text });
    return told?.kind === "answer" ? told.problem : "it could not be checked";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#forget();
    this.#giveUp();
    await worker?.terminate();
  }

  #giveUp(): void {
    this.#finish(undefined);
    for (const { done } of this.#turns.clear()) done(undefined);
  }

  #ask(owner: string, schema: string, answer: ToChecker["answer"]): Promise<Told> {
    return new Promise((done) => {
      if (this.#closed) return done(undefined);
      this.#numbers += 1;
      this.#turns.add(owner, { number: this.#numbers, schema, answer, done });
      this.#next();
    });
  }

  /** Its time begins when the thread gets it. */
  #next(): void {
    if (this.#running || this.#turns.empty) return;
    const worker = (this.#worker ??= this.#start());
    if (!this.#ready) return;
    const job = this.#turns.take();
    if (!job) return;
    this.#running = job;
    this.#timer = this.#clock.setTimer(timeMaxMs, () => this.#lost(worker));
    const { number, schema, answer } = job;
    worker.postMessage({ number, schema, answer } satisfies ToChecker);
  }

  #start(): Worker {
    const worker = new Worker(new URL("./schema-worker.ts", import.meta.url), {
      name: "schemas",
      resourceLimits: { maxOldGenerationSizeMb: memoryMax },
    });
    // It does nothing by itself, and a process that has nothing else to do may end.
    worker.unref();
    worker.on("message", (message: FromChecker) => this.#hear(worker, message));
    worker.on("error", () => this.#lost(worker));
    worker.on("exit", () => this.#lost(worker));
    return worker;
  }

  #hear(worker: Worker, message: FromChecker): void {
    if (worker !== this.#worker) return;
    if (message.kind === "ready") this.#ready = true;
    else if (message.number === this.#running?.number) this.#finish(message);
    this.#next();
  }

  /** It took too long or too much. */
  #lost(worker: Worker): void {
    if (worker !== this.#worker) return;
    // One that does not even begin is no caller's fault, and another would fare no better.
    if (!this.#ready) this.#giveUp();
    this.#forget();
    void worker.terminate();
    const job = this.#running;
    if (job) {
      this.#seen.set(job.schema, tooSlow);
      const { number } = job;
      if (job.answer) this.#finish({ kind: "answer", number, problem: `the schema ${tooSlow.problem}` });
      else this.#finish({ kind: "schema", number, problem: tooSlow });
    }
    this.#next();
  }

  #forget(): void {
    this.#worker = undefined;
    this.#ready = false;
  }

  #finish(told: Told): void {
    const job = this.#running;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#running = undefined;
    job?.done(told);
  }
}
