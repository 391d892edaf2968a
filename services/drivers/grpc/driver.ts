import type { Dialect, ReplicaModel } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { EmbedRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Cancel } from "../../runtime/mesh/push.ts";
import type { Attempt, AttemptSink, DriverKind, ProbeResult, Sighting, Target } from "../driver.ts";
import { type CountAttempt, type Embedded, judged, type UnaryAttempt, type UnaryDriver } from "../unary.ts";
import type { ModelRepository } from "../repository.ts";
import { type Channel, openChannel } from "./channel.ts";
import { speaksCleartext } from "./session.ts";

/** A protocol over gRPC. `I` is what it has to know of a model: the probe writes it into `interface_json`. */
export interface GrpcProtocol<I> {
  readonly dialect: Dialect;
  detect(channel: Channel, signal: AbortSignal): Promise<Sighting>;
  probe(channel: Channel, signal: AbortSignal): Promise<ProbeResult>;
  /** Starts an attempt. Throws a WeirError for one that is not sent. */
  generate(channel: Channel, target: Target, model: I, attempt: Attempt, sink: AttemptSink): Cancel;
  /** Embeds, if the protocol has models that do. Throws a BadAnswer for an answer that breaks it. */
  readonly embed?: (
    channel: Channel,
    target: Target,
    model: I,
    attempt: UnaryAttempt<EmbedRequest>,
    signal: AbortSignal,
  ) => Promise<Embedded>;
  /** Counts tokens, if the protocol can. Throws a BadAnswer for an answer that breaks it. */
  readonly countTokens?: (
    channel: Channel,
    target: Target,
    attempt: CountAttempt,
    signal: AbortSignal,
  ) => Promise<number>;
  /** Loads and unloads models, if the protocol can. */
  readonly repository?: (channel: Channel, target: Target) => ModelRepository;
}

/** The driver of a protocol over gRPC: a connection to each replica. */
export function grpcDriver<I>(protocol: GrpcProtocol<I>): DriverKind {
  const { dialect } = protocol;
  return {
    dialect,
    canBeAt: speaksCleartext,
    async detect(target, signal) {
      using channel = openChannel(target);
      return await protocol.detect(channel, signal);
    },
    open(target) {
      const channel = openChannel(target);
      const interfaceOf = createInterfaceReader<I>();
      const { embed, countTokens } = protocol;
      const embeds: UnaryDriver = embed
        ? {
            embed: (attempt, signal) =>
              judged(attempt, target, () => embed(channel, target, interfaceOf(attempt.model), attempt, signal)),
          }
        : {};
      const counts: UnaryDriver = countTokens
        ? {
            countTokens: (attempt, signal) =>
              judged(attempt, target, () => countTokens(channel, target, attempt, signal)),
          }
        : {};
      return {
        ...embeds,
        ...counts,
        ...(protocol.repository ? { repository: protocol.repository(channel, target) } : {}),
        dialect,
        generate(attempt, sink) {
          try {
            return protocol.generate(channel, target, interfaceOf(attempt.model), attempt, sink);
          } catch (thrown) {
            sink.fail(weirErrorFrom(thrown));
            return () => undefined;
          }
        },
        probe: (signal) => protocol.probe(channel, signal),
        async [Symbol.asyncDispose]() {
          channel[Symbol.dispose]();
        },
      };
    },
  };
}

/** A replica's model lives as long as the snapshot of the catalogue that holds it: it is read once. */
function createInterfaceReader<I>(): (model: ReplicaModel) => I {
  const known = new WeakMap<ReplicaModel, I>();
  return (model) => {
    const before = known.get(model);
    if (before) return before;
    const read = JSON.parse(model.interfaceJson) as I;
    known.set(model, read);
    return read;
  };
}
