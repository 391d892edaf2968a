import { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { systemChance } from "../runtime/ids.ts";
import type { Role } from "../runtime/role.ts";
import { startHousekeeping } from "./housekeeping.ts";
import { createLedgerTime } from "./ledger-time.ts";
import { migrations } from "./migrations/migrations.ts";
import { createNodeWords } from "./node-words.ts";
import { usageService } from "./service.ts";
import { reportLanes } from "./service-query.ts";
import { postgresUsageStore } from "./store-postgres.ts";

/**
 * Reports have connections of their own, as many as are made at a time. Their deadline is 30 s; the server ends a
 * statement after nine tenths of the limit here, so that who asked is told.
 */
const reportLimits = { connectionsMax: reportLanes, queryTimeoutMs: 25_000, applicationName: "weir reports" };

/** The ledger: what was used, by whom, and what became of each request. */
export const role: Role = {
  name: "usage",
  async start(runtime) {
    const { settings, services, clock, log, metrics } = runtime;
    const { retentionMs } = settings.usage;
    const db = await runtime.database("usage", migrations);
    const reports = runtime.databaseAside(reportLimits);
    const store = postgresUsageStore(db, { reports, clock, chance: systemChance });
    const time = createLedgerTime(store, clock);
    const house = { store, clock, time, log, retentionMs };
    await using started = new AsyncDisposableStack();
    const words = started.use(createNodeWords(store, { clock, log }));
    started.use(await startHousekeeping(house));
    services.add(UsageService, usageService({ store, words, clock, time, log, metrics, retentionMs }));
    return started.move();
  },
};
