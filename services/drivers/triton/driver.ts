import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { DriverKind } from "../driver.ts";
import { grpcDriver } from "../grpc/driver.ts";
import type { TritonInterface } from "./flavour.ts";
import { startGeneration } from "./generation.ts";
import { isTriton, probeTriton } from "./probe.ts";

/** Triton, and what else speaks KServe v2 over gRPC with its interfaces. */
export const tritonDriver: DriverKind = grpcDriver<TritonInterface>({
  dialect: Dialect.TRITON,
  detect: isTriton,
  probe: probeTriton,
  generate: startGeneration,
});
