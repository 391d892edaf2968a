import type { Replica } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { ProbeResult } from "../drivers/driver.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import { bounded } from "./bounded.ts";
import type { ProbedReplica } from "./probed-replica.ts";
import { failuresUntilDown } from "./replica-state.ts";

/** What a probe brought. */
export type ProbeOutcome =
  | { readonly kind: "answered"; readonly result: ProbeResult; readonly replica: Replica }
  | { readonly kind: "failed"; readonly error: WeirError; readonly replica: Replica };

export interface ProberOptions {
  readonly replicas: readonly ProbedReplica[];
  readonly intervalMs: number;
  /** How long a replica may take to answer. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** 0 to 1: spreads the probes, so that replicas are not all asked in one instant. */
  readonly random: () => number;
  readonly report: (outcome: ProbeOutcome) => void;
  /** Each replica has answered once, or failed as often as makes it down. */
  readonly askedAll: () => void;
}

/** A replica that just failed, or that is not up so far, is asked again this soon; twice as late after each failure. */
const retryMs = 250;

/** Asks all the time, until it is disposed. */
export interface Prober extends AsyncDisposable {
  /** Asks a replica now, and not only when its time comes: something of it was changed. */
  hurry(replicaId: string): void;
}

/** Starts asking. Each replica has one probe at a time, and the next only after the last has ended. */
export function startProber(options: ProberOptions): Prober {
  const loops = options.replicas.map((replica) => new Loop(replica, options));
  if (loops.length === 0) options.askedAll();
  else void Promise.all(loops.map((loop) => loop.asked)).then(options.askedAll);
  return {
    hurry(replicaId) {
      for (const loop of loops) if (loop.replicaId === replicaId) loop.hurry();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(loops.map((loop) => loop.stop()));
    },
  };
}

class Loop {
  /** Resolves when the replica has answered or is known to be down, also if the loop was stopped. */
  readonly asked: Promise<void>;
  readonly #known: () => void;
  readonly #replica: ProbedReplica;
  readonly #options: ProberOptions;
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #failures = 0;
  /** What a probe that runs finds may be from before a change: another one follows it at once. */
  #hurried = false;

  constructor(replica: ProbedReplica, options: ProberOptions) {
    this.#replica = replica;
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.asked = promise;
    this.#known = resolve;
    this.#start();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#timer?.cancel();
    this.#known();
    await this.#running;
    await this.#replica[Symbol.asyncDispose]();
  }

  get replicaId(): string {
    return this.#replica.replica.id;
  }

  hurry(): void {
    if (this.#stop.signal.aborted) return;
    if (!this.#timer) {
      this.#hurried = true;
      return;
    }
    this.#timer.cancel();
    this.#start();
  }

  #start(): void {
    this.#timer = undefined;
    this.#hurried = false;
    this.#running = this.#probe().then(() => {
      if (this.#stop.signal.aborted) return;
      if (this.#hurried) return this.#start();
      this.#timer = this.#options.clock.setTimer(this.#delayMs(), () => this.#start());
    });
  }

  async #probe(): Promise<void> {
    const { clock, timeoutMs, report } = this.#options;
    const timeout = new AbortController();
    const timer = clock.setTimer(timeoutMs, () => timeout.abort());
    const signal = AbortSignal.any([timeout.signal, this.#stop.signal]);
    let outcome: ProbeOutcome;
    try {
      const result = await bounded(this.#replica.ask(signal), signal);
      outcome = { kind: "answered", result, replica: this.#replica.replica };
    } catch (thrown) {
      const late = timeout.signal.aborted;
      const error = late
        ? fail(ErrorReason.ENGINE_TIMEOUT, {
            phase: "probe",
            waited_ms: String(timeoutMs),
            problem: `no answer in ${timeoutMs} ms`,
          })
        : weirErrorFrom(thrown);
      outcome = { kind: "failed", error, replica: this.#replica.replica };
    } finally {
      timer.cancel();
    }
    if (this.#stop.signal.aborted) return;
    this.#failures = outcome.kind === "answered" ? 0 : this.#failures + 1;
    report(outcome);
    if (this.#failures === 0 || this.#failures >= failuresUntilDown) this.#known();
  }

  #delayMs(): number {
    const { intervalMs, random } = this.#options;
    const jitter = 0.9 + 0.2 * random();
    if (this.#failures === 0) return intervalMs * jitter;
    return Math.min(intervalMs, retryMs * 2 ** Math.min(this.#failures - 1, 20)) * jitter;
  }
}
