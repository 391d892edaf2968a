import type { Logger } from "pino";
import { type Clock, sleep } from "../runtime/clock.ts";
import type { LedgerTime } from "./ledger-time.ts";
import type { HouseStore } from "./store.ts";

export interface HousekeepingOptions {
  readonly store: HouseStore;
  readonly clock: Clock;
  readonly time: LedgerTime;
  readonly log: Pick<Logger, "info" | "warn">;
  readonly retentionMs: number;
}

/** Partitions are made a week ahead, and what is over by hours harms nobody. */
const intervalMs = 3_600_000;
/** Sooner after a failure: the database was away, or somebody held a table. */
const retryMs = 60_000;
/** No generation lasts a day, nor is a node away for one with its journal whole. */
const lostAfterMs = 86_400_000;

/** One round of keeping house. What is dropped is gone: the database and this process both have to take it for old. */
export async function keepOnce({ store, clock, time, log, retentionMs }: HousekeepingOptions): Promise<void> {
  await time.read();
  const nowMs = Math.min(time.nowMs(), clock.nowMs());
  const { made, lost } = await store.keep({ nowMs, retentionMs, lostBeforeMs: nowMs - lostAfterMs });
  if (made.length > 0) log.info({ made }, "the ledger has new partitions");
  if (lost > 0) log.warn({ lost }, "requests of which nothing was heard for a day were ended as lost");
  const dropped = await store.drop(nowMs - retentionMs);
  if (dropped.length > 0)
    log.info({ dropped }, "partitions of the ledger were dropped: all in them is older than is kept");
}

/** Keeps house now, then every hour until it is disposed. The first round is over when it returns, done or not. */
export async function startHousekeeping(options: HousekeepingOptions): Promise<AsyncDisposable> {
  const { clock, log } = options;
  const stop = new AbortController();
  const round = async (): Promise<number> => {
    try {
      await keepOnce(options);
      return intervalMs;
    } catch (error) {
      log.warn({ err: error }, "could not keep the ledger's house; it is tried again");
      return retryMs;
    }
  };
  let waitMs = await round();
  const run = async () => {
    while (await sleep(clock, waitMs, stop.signal)) waitMs = await round();
  };
  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}
