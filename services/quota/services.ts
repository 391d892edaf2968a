import type { Client } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { LimitService } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import type { QuotaService } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import type { Metrics } from "../runtime/telemetry/metrics.ts";
import { followLimits, type LimitFollower } from "./limit-follower.ts";
import { limitService } from "./limit-service.ts";
import type { LimitStore } from "./limit-store.ts";
import { quotaState } from "./quota-state.ts";
import { quotaService } from "./service.ts";
import type { QuotaStore } from "./store.ts";
import { createSubjectOwners } from "./subject-owner.ts";
import { createLeaseWatches } from "./watch.ts";

export interface QuotaOptions {
  /** Limits as they are set. */
  readonly limits: LimitStore;
  /** What limits have counted. */
  readonly store: QuotaStore;
  readonly auth: Client<typeof AuthService>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly newLimitId: () => string;
}

/** Both services of this room, over one book of limits. Disposing ends what runs beside their calls. */
export interface QuotaServices extends AsyncDisposable {
  readonly quota: ServiceImplementation<typeof QuotaService>;
  readonly limits: ServiceImplementation<typeof LimitService>;
  readonly follower: LimitFollower;
}

/** Reads the limits and builds the services. Fails with STORE_UNAVAILABLE if the limits cannot be read now. */
export async function openQuota(options: QuotaOptions): Promise<QuotaServices> {
  const { limits, store, clock, log, newLimitId } = options;
  await using opened = new AsyncDisposableStack();
  const follower = opened.use(await followLimits({ store: limits, clock, log }));
  const unfollow = follower.onChange(({ limit, deleted }) => {
    if (deleted) store.forget(limit.id);
    else store.believe(limit);
  });
  opened.defer(unfollow);
  const watches = opened.use(createLeaseWatches({ store, follower, clock }));
  const counts = options.metrics.quota(quotaState(store, follower));
  const owners = createSubjectOwners(options.auth);
  const running = opened.move();
  return {
    quota: quotaService({ store, book: follower.book, watches, counts }),
    limits: limitService({ limits, follower, counts: store, owners, newLimitId }),
    follower,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
