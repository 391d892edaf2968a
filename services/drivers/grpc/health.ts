import { status as grpcStatus } from "@grpc/grpc-js";
import { Health, HealthCheckResponse_ServingStatus } from "../../../gen/ts/grpc/health/v1/health_pb.ts";
import type { Channel } from "./channel.ts";
import { StatusError } from "./status-error.ts";

/** Whether a service is healthy, as the server's health check says; a server without one is as healthy as it seems. */
export async function isServing(channel: Channel, service: string, signal: AbortSignal): Promise<boolean> {
  try {
    const { status } = await channel.ask(Health.method.check, { service }, signal);
    return status === HealthCheckResponse_ServingStatus.SERVING;
  } catch (thrown) {
    if (thrown instanceof StatusError && thrown.code === grpcStatus.UNIMPLEMENTED) return true;
    // It does not know the service so far: it is starting.
    if (thrown instanceof StatusError && thrown.code === grpcStatus.NOT_FOUND) return false;
    throw thrown;
  }
}
