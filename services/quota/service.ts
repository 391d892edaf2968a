import type { LeaseReport } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import { LimitMode, Operation } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { QuotaService } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Denial, Reservation } from "../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { pushed } from "../runtime/mesh/push.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import type { QuotaCounts } from "../runtime/telemetry/quota-series.ts";
import type { LimitBook, Owners } from "./limit-book.ts";
import type { QuotaStore } from "./store.ts";
import type { LeaseWatches } from "./watch.ts";

export interface QuotaServiceOptions {
  readonly store: QuotaStore;
  readonly book: Pick<LimitBook, "applying" | "get">;
  readonly watches: Pick<LeaseWatches, "watch">;
  readonly counts: QuotaCounts;
}

/** What a request is counted by. */
interface Counted {
  readonly consumer?: Owners | undefined;
  readonly model: string;
  readonly operation: Operation;
}

/** Admits requests against limits: finds those that apply, and lets the store count. */
export function quotaService(options: QuotaServiceOptions): ServiceImplementation<typeof QuotaService> {
  const { store, book, counts } = options;

  const limitsOf = ({ consumer, model, operation }: Counted) => book.applying({ consumer, model, operation });

  const reportedIn = (reports: readonly LeaseReport[]) => reports.flatMap(({ limitId }) => book.get(limitId) ?? []);

  const count = (outcome: Outcome): void => {
    if (outcome.case === "denied") counts.denied(outcome.value.dimension, outcome.value.reason);
    if (outcome.case !== "granted") return;
    for (const { limitId, dimension, remaining } of outcome.value.shares) {
      // A share that a limit did not have is a refusal, but for its mode.
      if (remaining < 0n && book.get(limitId)?.spec?.mode === LimitMode.SHADOW) counts.wouldDeny(dimension);
    }
  };

  return {
    async reserve(request) {
      const response = await store.reserve(limitsOf(request), request, reportedIn(request.reports));
      count(response.outcome);
      return response;
    },
    async extend(request) {
      const response = await store.extend(request);
      count(response.outcome);
      return response;
    },
    settle: (request) => store.settle(limitsOf(request), request),
    async release(request) {
      await store.release(request);
      return {};
    },
    async lease(request) {
      const limits = limitsOf(request);
      const all = book.applying({ consumer: request.consumer, model: "", operation: Operation.UNSPECIFIED });
      const response = await store.lease(limits, request, reportedIn(request.reports));
      return all.length === limits.length
        ? response
        : { ...response, elsewhere: all.filter((limit) => !limits.includes(limit)) };
    },
    async returnLease(request) {
      await store.returnLease(reportedIn(request.reports), request);
      return {};
    },
    watchLeases: pushed(options.watches.watch),
  };
}

type Outcome =
  | { readonly case: "granted"; readonly value: Reservation }
  | { readonly case: "denied"; readonly value: Denial }
  | { readonly case: undefined; readonly value?: undefined };
