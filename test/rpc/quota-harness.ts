import type { Client } from "@connectrpc/connect";
import { pino } from "pino";
import { LimitService } from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { QuotaService } from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import type { LimitStore } from "../../services/quota/limit-store.ts";
import { migrations } from "../../services/quota/migrations/migrations.ts";
import { openQuota } from "../../services/quota/services.ts";
import { createMemoryQuotaStore } from "../../services/quota/store-memory.ts";
import { postgresLimitStore, type QuotaTables } from "../../services/quota/store-postgres-limits.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import { type AuthHarness, startAuth } from "./auth-harness.ts";

/** The quota services beside the auth services, over one database, behind the gate. */
export interface QuotaHarness extends AsyncDisposable {
  readonly auth: AuthHarness;
  readonly limits: Client<typeof LimitService>;
  readonly quota: Client<typeof QuotaService>;
  /** Limits as another process of the control plane would write them. */
  readonly elsewhere: LimitStore;
}

/** Starts it, in real time. */
export async function startQuota(): Promise<QuotaHarness> {
  await using opened = new AsyncDisposableStack();
  const auth = opened.use(await startAuth({ quota: migrations }));
  const { registry, metrics } = auth;
  const clock = systemClock;
  const limits = postgresLimitStore(auth.database.kysely<QuotaTables>());
  const store = createMemoryQuotaStore({ clock, ids: systemIds });
  const newLimitId = () => `limit-${systemIds.short(16)}`;
  const log = pino({ level: "silent" });
  const services = await openQuota({ limits, store, auth: auth.auth, clock, log, metrics, newLimitId });
  opened.use(services);
  registry.add(QuotaService, services.quota);
  registry.add(LimitService, services.limits);
  const running = opened.move();
  return {
    auth,
    limits: auth.mesh.client(LimitService),
    quota: auth.mesh.client(QuotaService),
    elsewhere: postgresLimitStore(auth.database.kysely<QuotaTables>()),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
