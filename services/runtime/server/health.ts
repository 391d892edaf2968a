import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckRequest,
  HealthCheckResponse_ServingStatus as Status,
  HealthCheckResponseSchema,
} from "../../../gen/ts/grpc/health/v1/health_pb.ts";
import { type Clock, sleep } from "../clock.ts";

/** What the health service tells of. */
export interface HealthOptions {
  /** Full names of the services on this listener. */
  readonly services: () => readonly string[];
  /** Whether the process takes requests. */
  readonly ready: () => boolean;
  readonly clock: Clock;
}

/** How often a watcher's state is looked at. */
const watchIntervalMs = 250;

/** Serves grpc.health.v1, which load balancers and gRPC clients ask. It needs no key, and says nothing but up or not. */
export function healthRoutes(options: HealthOptions): (router: ConnectRouter) => void {
  const statusOf = (service: string) => {
    if (service !== "" && service !== Health.typeName && !options.services().includes(service))
      return Status.SERVICE_UNKNOWN;
    return options.ready() ? Status.SERVING : Status.NOT_SERVING;
  };
  return (router) => {
    router.service(Health, {
      check(request: HealthCheckRequest) {
        const status = statusOf(request.service);
        if (status === Status.SERVICE_UNKNOWN) throw new ConnectError("unknown service", Code.NotFound);
        return create(HealthCheckResponseSchema, { status });
      },
      async *watch(request: HealthCheckRequest, context: HandlerContext) {
        let told: Status | undefined;
        do {
          const status = statusOf(request.service);
          if (status !== told) yield create(HealthCheckResponseSchema, { status });
          told = status;
        } while (await sleep(options.clock, watchIntervalMs, context.signal));
      },
    });
  };
}
