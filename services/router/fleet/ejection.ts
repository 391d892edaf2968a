/**
 * What a replica's answers to real requests say about it, beside its probes. It is **open** until failures in a row
 * reach the limit; then it is **ejected** for a while, longer each time. When that is over it is open again **on
 * trial**: one more failure ejects it, one success clears it.
 */
export interface HealthRecord {
  /** Failures since the last success. */
  readonly failures: number;
  /** How often it was ejected since the last success. */
  readonly ejections: number;
  /** Monotonic milliseconds; in the past: it is open. */
  readonly ejectedUntilMs: number;
}

/** Fewer would eject for a passing fault, more would cost every caller of a dead replica a failover. */
const failuresUntilEjected = 5;
/** A restart of an engine process takes about this long. */
const ejectedFirstMs = 5_000;
/** The probes tell of a recovery sooner; this bounds how long a good replica may stand idle. */
const ejectedMostMs = 60_000;

/** Nothing is known against it. */
export const clean: HealthRecord = Object.freeze({ failures: 0, ejections: 0, ejectedUntilMs: 0 });

/** After a request that failed by the engine's fault. */
export function afterFailure(before: HealthRecord, nowMs: number): HealthRecord {
  const failures = before.failures + 1;
  if (isEjected(before, nowMs) || failures < failuresUntilEjected) return { ...before, failures };
  const forMs = Math.min(ejectedMostMs, ejectedFirstMs * 2 ** before.ejections);
  return { failures: failuresUntilEjected - 1, ejections: before.ejections + 1, ejectedUntilMs: nowMs + forMs };
}

/** After a request that the engine served, or refused for a reason of the caller's. */
export function afterSuccess(before: HealthRecord): HealthRecord {
  return before.failures === 0 && before.ejections === 0 ? before : clean;
}

/** Whether it should get no request now, if another replica can. */
export function isEjected(record: HealthRecord, nowMs: number): boolean {
  return record.ejectedUntilMs > nowMs;
}
