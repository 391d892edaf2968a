import { isUnavailable } from "./sqlstate.ts";

/** What a store answers when its database cannot: an expected outcome, for which every caller has a policy. */
export interface StoreUnavailable {
  readonly kind: "store_unavailable";
  /** For the log; it may hold addresses and statement texts, and never leaves the process. */
  readonly cause: unknown;
}

/**
 * The result of a store's database work, with an outage turned into a value.
 *
 * @throws every other error of the work: those are defects.
 */
export async function orUnavailable<T>(work: Promise<T>): Promise<T | StoreUnavailable> {
  try {
    return await work;
  } catch (cause) {
    if (isUnavailable(cause)) return { kind: "store_unavailable", cause };
    throw cause;
  }
}
