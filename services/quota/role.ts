import { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { LimitService } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { QuotaService } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { systemIds } from "../runtime/ids.ts";
import type { Role } from "../runtime/role.ts";
import { migrations } from "./migrations/migrations.ts";
import { openQuota } from "./services.ts";
import { createMemoryQuotaStore } from "./store-memory.ts";
import { postgresLimitStore, type QuotaTables } from "./store-postgres-limits.ts";

/** Limits, and what is left of them. */
export const role: Role = {
  name: "quota",
  async start(runtime) {
    const { clock, log, mesh, metrics, services } = runtime;
    await using started = new AsyncDisposableStack();
    const limits = postgresLimitStore(await runtime.database<QuotaTables>("quota", migrations));
    const store = createMemoryQuotaStore({ clock, ids: systemIds });
    const auth = mesh.client(AuthService);
    const newLimitId = () => `limit-${systemIds.short(16)}`;
    const opened = started.use(await openQuota({ limits, store, auth, clock, log, metrics, newLimitId }));
    services.add(QuotaService, opened.quota);
    services.add(LimitService, opened.limits);
    return started.move();
  },
};
