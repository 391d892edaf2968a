import type { Logger } from "pino";
import { type Clock, sleep } from "../clock.ts";
import type { Postmaster } from "./postmaster.ts";
import { restartDelayMs } from "./restart-delay.ts";

// PostgreSQL under supervision is in one of three states.
//   ready       It accepts connections. Its end, unless we caused it, leads to `restarting`.
//   restarting  It is started again and again, after 0.1 s, 0.2 s ... 5 s. A start that succeeds leads to `ready`;
//               `giveUpAfterMs` without one, or being disposed of, to `ended`.
//   ended       It does not run and will not.

export type PostgresState = "ready" | "restarting" | "ended";

/** Why PostgreSQL no longer runs. */
export type SupervisionEnd =
  | { readonly reason: "stopped" }
  /** No restart succeeded in time; `cause` holds PostgreSQL's last words. */
  | { readonly reason: "gave_up"; readonly cause: unknown };

export interface SupervisedPostgres extends AsyncDisposable {
  readonly pid: () => number | undefined;
  readonly state: () => PostgresState;
  /** Never rejects. */
  readonly ended: Promise<SupervisionEnd>;
}

export interface SupervisionOptions {
  /** Starts one postmaster; rejects when it cannot or when the signal aborts. */
  readonly start: (signal: AbortSignal) => Promise<Postmaster>;
  readonly clock: Clock;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  readonly giveUpAfterMs: number;
  /** Ends the first start; later ones end by disposal. */
  readonly signal: AbortSignal;
}

// The first start may meet processes of a killed server that still let go of its memory; longer is a real problem.
const firstStartWithinMs = 3_000;
// A server that was up for so long did not fail because of how it was started.
const stableAfterMs = 30_000;

/** Starts PostgreSQL and keeps it running until disposed of. @throws when the first start fails. */
export async function supervise(options: SupervisionOptions): Promise<SupervisedPostgres> {
  const { clock, log } = options;
  const stopping = new AbortController();
  let state: PostgresState = "ready";
  let current = await startWithin(firstStartWithinMs, options, options.signal);

  async function keepRunning(): Promise<SupervisionEnd> {
    for (let quickEnds = 0; ; quickEnds += 1) {
      const readyMs = clock.monotonicMs();
      const exit = await current.exited;
      if (stopping.signal.aborted) return { reason: "stopped" };
      state = "restarting";
      log.error({ pid: current.pid, ...exit }, "PostgreSQL ended unexpectedly: starting it again");
      if (clock.monotonicMs() - readyMs > stableAfterMs) quickEnds = 0;
      await sleep(clock, restartDelayMs(quickEnds), stopping.signal);
      current = await startWithin(options.giveUpAfterMs, options, stopping.signal);
      // Disposal began while it started, and saw the one before.
      if (stopping.signal.aborted) await current[Symbol.asyncDispose]();
      else state = "ready";
      log.info({ pid: current.pid }, "PostgreSQL runs again");
    }
  }

  const ended = keepRunning()
    .catch((cause: unknown): SupervisionEnd => {
      if (stopping.signal.aborted) return { reason: "stopped" };
      log.error({ err: cause }, "PostgreSQL could not be started again: giving up");
      return { reason: "gave_up", cause };
    })
    .finally(() => {
      state = "ended";
    });
  return {
    pid: () => (state === "ready" ? current.pid : undefined),
    state: () => state,
    ended,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await current[Symbol.asyncDispose]();
      await ended;
    },
  };
}

async function startWithin(budgetMs: number, options: SupervisionOptions, signal: AbortSignal): Promise<Postmaster> {
  const deadlineMs = options.clock.monotonicMs() + budgetMs;
  for (let attempt = 0; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      return await options.start(signal);
    } catch (error) {
      const delayMs = restartDelayMs(attempt);
      if (signal.aborted || options.clock.monotonicMs() + delayMs > deadlineMs) throw error;
      options.log.warn({ err: error, delayMs }, "PostgreSQL did not start: trying again");
      await sleep(options.clock, delayMs, signal);
    }
  }
}
