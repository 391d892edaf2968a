import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { DriverKind } from "../driver.ts";
import { grpcDriver } from "../grpc/driver.ts";
import { countAtTgis } from "./counting.ts";
import { startGeneration } from "./generation.ts";
import type { TgisInterface } from "./interface.ts";
import { isTgis, probeTgis } from "./probe.ts";

/** TGIS, and vLLM behind its TGIS adapter. */
export const tgisDriver: DriverKind = grpcDriver<TgisInterface>({
  dialect: Dialect.TGIS,
  detect: isTgis,
  probe: probeTgis,
  generate: startGeneration,
  countTokens: countAtTgis,
});
