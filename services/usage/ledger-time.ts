import type { Clock } from "../runtime/clock.ts";
import type { HouseStore } from "./store.ts";

/** The time that the ledger goes by: its database's, so that a process whose clock is wrong neither drops nor refuses. */
export interface LedgerTime {
  /** Milliseconds since the epoch, as of the last reading and what passed since. */
  nowMs(): number;
  /** Reads the database's clock. Fails as the store does. */
  read(): Promise<void>;
}

/** Until the first reading it is the process's own. */
export function createLedgerTime(store: Pick<HouseStore, "nowMs">, clock: Clock): LedgerTime {
  let readMs: number | undefined;
  let atMs = 0;
  return {
    nowMs: () => (readMs === undefined ? clock.nowMs() : Math.floor(readMs + clock.monotonicMs() - atMs)),
    async read() {
      readMs = await store.nowMs();
      atMs = clock.monotonicMs();
    },
  };
}
