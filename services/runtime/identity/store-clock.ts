import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Clock } from "../clock.ts";

/** The time of the store that keys live in, as far as its answers tell. */
export interface StoreClock {
  /** Milliseconds since the epoch by the store's clock; by this machine's until the store has told its own. */
  nowMs(): number;
  /** Takes a time that the store told between two moments of the monotonic clock. */
  observe(told: Timestamp | undefined, sentMs: number): void;
}

/** Follows the store by the latest answer and the monotonic time since: setting this machine's clock changes nothing. */
export function createStoreClock(clock: Clock): StoreClock {
  let offsetMs: number | undefined;
  return {
    nowMs: () => (offsetMs === undefined ? clock.nowMs() : clock.monotonicMs() + offsetMs),
    observe(told, sentMs) {
      if (told) offsetMs = timestampMs(told) - (sentMs + clock.monotonicMs()) / 2;
    },
  };
}
