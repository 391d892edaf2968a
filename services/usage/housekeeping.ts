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
  const { made, dropped, lost } = await store.keep({ nowMs, retentionMs, lostBeforeMs: nowMs - lostAfterMs });
  if (made.length > 0 || dropped.length > 0) log.info({ made, dropped }, "the ledger's partitions changed");
  if (lost > 0) log.warn({ lost }, "requests of which nothing was heard for a day were ended as lost");
}

/** Keeps house every hour, from now on and until it is disposed. */
export function startHousekeeping(options: HousekeepingOptions): AsyncDisposable {
  const { clock, log } = options;
  const stop = new AbortController();
  const run = async () => {
    let waitMs = intervalMs;
    while (await sleep(clock, waitMs, stop.signal)) {
      try {
        await keepOnce(options);
        waitMs = intervalMs;
      } catch (error) {
        waitMs = retryMs;
        log.warn({ err: error }, "could not keep the ledger's house; it is tried again");
      }
    }
  };
  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}
