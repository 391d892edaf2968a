import { type Server, status } from "@grpc/grpc-js";
import { Health, HealthCheckResponse_ServingStatus } from "../../../gen/ts/grpc/health/v1/health_pb.ts";
import { answerQuestion } from "./server.ts";

/** Serves gRPC's health check: all is well with the server and these services, and others are not known. */
export function serveHealth(grpc: Server, services: readonly string[]): void {
  answerQuestion(grpc, Health.method.check, ({ service }) => {
    if (service !== "" && !services.includes(service)) return { code: status.NOT_FOUND, text: "unknown service" };
    return { status: HealthCheckResponse_ServingStatus.SERVING };
  });
}
