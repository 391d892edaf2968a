import { Dialect, type ReplicaModel } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { Driver, DriverKind, Target } from "../driver.ts";
import { openChannel } from "../grpc/channel.ts";
import type { TritonInterface } from "./flavour.ts";
import { startGeneration } from "./generation.ts";
import { isTriton, probeTriton } from "./probe.ts";

/** Triton, and what else speaks KServe v2 over gRPC with its interfaces. */
export const tritonDriver: DriverKind = {
  dialect: Dialect.TRITON,
  async detect(target, signal) {
    using channel = openChannel(target);
    return await isTriton(channel, signal);
  },
  open: openTriton,
};

function openTriton(target: Target): Driver {
  const channel = openChannel(target);
  const interfaces = new WeakMap<ReplicaModel, TritonInterface>();

  // A replica's model lives as long as the snapshot of the catalogue that holds it: it is read once.
  function interfaceOf(model: ReplicaModel): TritonInterface {
    const known = interfaces.get(model);
    if (known) return known;
    const read = JSON.parse(model.interfaceJson) as TritonInterface;
    interfaces.set(model, read);
    return read;
  }

  return {
    dialect: Dialect.TRITON,
    generate(attempt, sink) {
      try {
        return startGeneration({ channel, target, model: interfaceOf(attempt.model) }, attempt, sink);
      } catch (cause) {
        sink.fail(fail(ErrorReason.INTERNAL, {}, { cause }));
        return () => undefined;
      }
    },
    probe: (signal) => probeTriton(channel, signal),
    async [Symbol.asyncDispose]() {
      channel[Symbol.dispose]();
    },
  };
}
