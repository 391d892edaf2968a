const firstMs = 100;
// Short enough that the database is back within 10 s of a full disk being cleared.
const longestMs = 5_000;

/** How long to wait before start number `attempt` (from 0) after PostgreSQL ended by itself: doubles up to 5 s. */
export function restartDelayMs(attempt: number): number {
  return Math.min(longestMs, firstMs * 2 ** Math.min(attempt, 30));
}
