import type { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import type { Attempt, DriverKind, ProbeResult, Sighting, Target } from "../driver.ts";
import type { UnaryDriver } from "../unary.ts";
import type { Connection } from "./connection.ts";

/** A protocol over HTTP. */
export interface HttpProtocol {
  readonly dialect: Dialect;
  /** Opens the way to a server. */
  readonly connect: (target: Target) => Connection;
  /** Whether a server speaks it. May reject with ENGINE_UNAVAILABLE or ENGINE_PROTOCOL where there is no answer. */
  readonly detect: (connection: Connection, signal: AbortSignal) => Promise<Sighting>;
  /** How one replica is asked what it has. */
  readonly probeOf: (connection: Connection) => (signal: AbortSignal) => Promise<ProbeResult>;
  /** What it does beside generating. */
  readonly unaryOf?: (connection: Connection, target: Target) => UnaryDriver;
  /** Starts an attempt. Throws a WeirError for one that is not sent. */
  readonly generate: (connection: Connection, target: Target, attempt: Attempt, sink: Sink<GenerateResponse>) => Cancel;
}

/** The driver of a protocol over HTTP. */
export function httpDriver({ dialect, connect, detect, probeOf, generate, unaryOf }: HttpProtocol): DriverKind {
  return {
    dialect,
    // Without a scheme it may be either, without TLS.
    canBeAt: (url) => /^(https?|any):/.test(url),
    async detect(target, signal) {
      await using connection = connect(target);
      try {
        return await detect(connection, signal);
      } catch (thrown) {
        return weirErrorFrom(thrown).reason === ErrorReason.ENGINE_UNAVAILABLE ? "silent" : "no";
      }
    },
    open(target) {
      const connection = connect(target);
      return {
        ...unaryOf?.(connection, target),
        dialect,
        generate(attempt, sink) {
          try {
            return generate(connection, target, attempt, sink);
          } catch (thrown) {
            sink.fail(weirErrorFrom(thrown));
            return () => undefined;
          }
        },
        probe: probeOf(connection),
        [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
      };
    },
  };
}
