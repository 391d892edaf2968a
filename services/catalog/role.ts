import { CatalogService } from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import type { Replica } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { EngineService } from "../../gen/ts/weir/catalog/v1/engine_service_pb.ts";
import { PoolService } from "../../gen/ts/weir/catalog/v1/pool_service_pb.ts";
import { detectDialect, openDriver } from "../drivers/registry.ts";
import { targetFrom } from "../drivers/target.ts";
import { systemChance } from "../runtime/ids.ts";
import type { Role, Runtime } from "../runtime/role.ts";
import { createCatalog } from "./catalog.ts";
import { type Desired, desiredFrom } from "./desired.ts";
import { createHealthLog } from "./health-log.ts";
import { createProbedReplica, type DriverDoor, type ProbedReplica } from "./probed-replica.ts";
import { engineService } from "./service-engine.ts";
import { startProber } from "./prober.ts";
import { catalogService, poolService } from "./service.ts";
import { createMemoryStore } from "./store.ts";

const drivers: DriverDoor = { open: openDriver, detect: detectDialect };

/** What exists: models, aliases, pools and replicas, with what the prober found. */
export const role: Role = {
  name: "catalog",
  async start(runtime) {
    const { clock, settings } = runtime;
    const log = runtime.log.child({ role: "catalog" });
    const store = createMemoryStore((resource, err) =>
      log.error({ resource, err }, "a resource can't be told to routers: what was known of it stays"),
    );
    const desired = desiredFrom(settings, clock.nowMs());
    const catalog = createCatalog({
      desired,
      store,
      nowMs: () => clock.nowMs(),
      warn: ({ poolId, engineModel, problem }) =>
        log.warn({ pool: poolId, engine_model: engineModel, problem }, "an engine's model is not served"),
    });
    const logHealth = createHealthLog(log);
    const replicas = probedReplicas(desired, runtime);
    const prober = startProber({
      ...settings.probe,
      replicas,
      clock,
      random: systemChance,
      report(outcome) {
        catalog.observe(outcome);
        logHealth(outcome);
      },
      askedAll: () => store.settle(),
    });
    runtime.services.add(CatalogService, catalogService(store, clock));
    runtime.services.add(PoolService, poolService(store));
    runtime.services.add(EngineService, engineService({ replicas, prober }));
    runtime.readiness("catalog", () => (store.settled ? undefined : "replicas are being asked for the first time"));
    return prober;
  },
};

function probedReplicas(desired: Desired, { clock }: Runtime): readonly ProbedReplica[] {
  return desired.replicas.flatMap((replica: Replica) => {
    const pool = desired.pools.get(replica.poolId);
    return pool ? [createProbedReplica(replica, targetFrom(replica, pool, clock), drivers)] : [];
  });
}
