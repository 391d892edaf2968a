import { UsageService } from "../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { systemChance } from "../runtime/ids.ts";
import type { Role } from "../runtime/role.ts";
import { keepOnce, startHousekeeping } from "./housekeeping.ts";
import { migrations } from "./migrations/migrations.ts";
import { createNodeWords } from "./node-words.ts";
import { usageService } from "./service.ts";
import { postgresUsageStore } from "./store-postgres.ts";

/** The ledger: what was used, by whom, and what became of each request. */
export const role: Role = {
  name: "usage",
  async start(runtime) {
    const { settings, services, clock, log, metrics } = runtime;
    const { retentionMs } = settings.usage;
    const store = postgresUsageStore(await runtime.database("usage", migrations), { clock, chance: systemChance });
    const house = { store, clock, log, retentionMs };
    await keepOnce(house);
    await using started = new AsyncDisposableStack();
    const words = started.use(createNodeWords(store, { clock, log }));
    started.use(startHousekeeping(house));
    services.add(UsageService, usageService({ store, words, clock, log, metrics, retentionMs }));
    return started.move();
  },
};
