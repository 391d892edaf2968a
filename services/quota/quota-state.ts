import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { QuotaState } from "../runtime/telemetry/quota-series.ts";
import type { LimitBook } from "./limit-book.ts";
import type { LimitFollower } from "./limit-follower.ts";
import type { QuotaStore } from "./store.ts";

/** What the metrics read. */
export function quotaState(
  store: Pick<QuotaStore, "status">,
  follower: Pick<LimitFollower, "book" | "ageMs">,
): QuotaState {
  const { book } = follower;
  return {
    limits: () => sumsOf(book, () => 1),
    async leased() {
      try {
        const statuses = await store.status([...book.all()]);
        const leased = new Map(statuses.map((status) => [status.limit?.id, Number(status.leased)]));
        return sumsOf(book, (limitId) => leased.get(limitId) ?? 0);
      } catch {
        // The store is away: there is nothing to tell, and other series are still read.
        return undefined;
      }
    },
    ageMs: () => follower.ageMs(),
  };
}

function sumsOf(book: LimitBook, valueOf: (limitId: string) => number): ReadonlyMap<Dimension, number> {
  const sums = new Map<Dimension, number>();
  for (const { id, spec } of book.all()) {
    const dimension = spec?.dimension ?? Dimension.UNSPECIFIED;
    sums.set(dimension, (sums.get(dimension) ?? 0) + valueOf(id));
  }
  return sums;
}
