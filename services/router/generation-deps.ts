import type { Clock } from "../runtime/clock.ts";
import type { Metrics } from "../runtime/telemetry/metrics.ts";
import type { Admission } from "./admission/admission.ts";
import type { AttemptDeps } from "./attempt.ts";
import type { RequestLog } from "./attempt-log.ts";
import type { Fleet } from "./fleet/fleet.ts";
import type { Quota } from "./quota/quota.ts";
import type { TriesDeps } from "./tries.ts";
import type { UsageJournal } from "./usage/usage-journal.ts";

/** What requests of every kind stand on. */
export interface LifecycleDeps extends TriesDeps {
  readonly clock: Clock;
  readonly fleet: Pick<Fleet, "resolve" | "synced">;
  readonly admission: Pick<Admission, "take" | "wait" | "leave">;
  readonly metrics: Pick<Metrics, "inFlight">;
  /** Where what a request may use is set aside. */
  readonly quota: Quota;
  /** Where the ledger is told how it went. */
  readonly usage: UsageJournal;
  readonly log: RequestLog;
}

/** What they stand on together with what their tries are built with. */
export interface GenerationDeps extends LifecycleDeps, AttemptDeps {}
