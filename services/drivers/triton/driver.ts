import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { unsupported } from "../capabilities.ts";
import type { Driver, DriverKind, Target } from "../driver.ts";
import { grpcDriver } from "../grpc/driver.ts";
import { connectionTo } from "../http/connection.ts";
import type { TritonInterface } from "./flavour.ts";
import { startCoreGeneration } from "./core/generation.ts";
import type { CoreInterface } from "./core/interface.ts";
import { startGeneration } from "./generation.ts";
import { embedAtTriton } from "./embedding.ts";
import type { EmbeddingInterface } from "./embedding-interface.ts";
import { askLoad, metricsUrlOf } from "./load.ts";
import { isTriton, probeTriton } from "./probe.ts";
import { tritonRepository } from "./repository.ts";

const overGrpc = grpcDriver<TritonInterface | CoreInterface | EmbeddingInterface>({
  dialect: Dialect.TRITON,
  detect: isTriton,
  probe: probeTriton,
  repository: tritonRepository,
  generate(channel, target, model, attempt, sink) {
    if (model.flavour === "embedding") throw unsupported(attempt, "model", "generation");
    if (model.flavour === "core") return startCoreGeneration(channel, target, model, attempt, sink);
    return startGeneration(channel, target, model, attempt, sink);
  },
  embed(channel, target, model, attempt, signal) {
    const { model: name } = attempt.request;
    if (model.flavour === "embedding") return embedAtTriton(channel, target, model, attempt, signal);
    return Promise.reject(fail(ErrorReason.UNSUPPORTED, { param: "model", feature: "embeddings", model: name }));
  },
});

/** Triton, and what else speaks KServe v2 over gRPC with its interfaces. How busy it is its metrics say, over HTTP. */
export const tritonDriver: DriverKind = {
  ...overGrpc,
  open(target) {
    const grpc = overGrpc.open(target);
    const metricsUrl = metricsUrlOf(target);
    return metricsUrl === undefined ? grpc : withLoad(grpc, target, metricsUrl);
  },
};

function withLoad(grpc: Driver, target: Target, metricsUrl: string): Driver {
  // The key is for the inference service.
  const connection = connectionTo({ ...target, url: metricsUrl }, {});
  return {
    ...grpc,
    async probe(signal) {
      const [found, load] = await Promise.all([grpc.probe(signal), askLoad(connection, target, signal)]);
      return { ...found, load };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([grpc[Symbol.asyncDispose](), connection[Symbol.asyncDispose]()]);
    },
  };
}
