/** More tokens than any context holds. */
const countMax = 2 ** 31;

/** Counts that cannot be are no counts: an engine's lie about them must not reach a bill. */
export function isCount(value: number | undefined): value is number {
  return value !== undefined && Number.isSafeInteger(value) && value >= 0 && value < countMax;
}

/** The length of a context as a server tells it in JSON; 0 for what can be none. */
export function lengthFrom(told: unknown): number {
  const length = typeof told === "number" ? Math.trunc(told) : 0;
  return isCount(length) ? length : 0;
}
