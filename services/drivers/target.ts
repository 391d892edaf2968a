import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { Pool } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { Replica } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Target } from "./driver.ts";

const receiveBytesMaxDefault = 33_554_432;

/** How to reach a replica, and what its pool bears from it. The defaults are those that the contract names. */
export function targetFrom({ url, httpUrl }: Replica, pool: Pool, clock: Clock): Target {
  return {
    url,
    httpUrl: httpUrl || undefined,
    engineKey: pool.engineKey || undefined,
    engineKeyHeader: pool.engineKeyHeader || undefined,
    receiveBytesMax: Number(pool.receiveBytesMax) || receiveBytesMaxDefault,
    firstEventMs: ms(pool.firstEventTimeout, 600_000),
    idleMs: ms(pool.idleTimeout, 20_000),
    toolIdleMs: ms(pool.toolIdleTimeout, 600_000),
    totalMs: ms(pool.totalTimeout, 3_600_000),
    clock,
  };
}

function ms(duration: Duration | undefined, otherwise: number): number {
  return duration ? durationMs(duration) : otherwise;
}
