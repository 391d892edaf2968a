import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { unsupported } from "../capabilities.ts";
import type { DriverKind } from "../driver.ts";
import { grpcDriver } from "../grpc/driver.ts";
import type { TritonInterface } from "./flavour.ts";
import { startGeneration } from "./generation.ts";
import { embedAtTriton } from "./embedding.ts";
import type { EmbeddingInterface } from "./embedding-interface.ts";
import { isTriton, probeTriton } from "./probe.ts";
import { tritonRepository } from "./repository.ts";

/** Triton, and what else speaks KServe v2 over gRPC with its interfaces. */
export const tritonDriver: DriverKind = grpcDriver<TritonInterface | EmbeddingInterface>({
  dialect: Dialect.TRITON,
  detect: isTriton,
  probe: probeTriton,
  repository: tritonRepository,
  generate(channel, target, model, attempt, sink) {
    if (model.flavour === "embedding") throw unsupported(attempt, "model", "generation");
    return startGeneration(channel, target, model, attempt, sink);
  },
  embed(channel, target, model, attempt, signal) {
    const { model: name } = attempt.request;
    if (model.flavour === "embedding") return embedAtTriton(channel, target, model, attempt, signal);
    return Promise.reject(fail(ErrorReason.UNSUPPORTED, { param: "model", feature: "embeddings", model: name }));
  },
});
