import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckRequest,
  HealthCheckResponse_ServingStatus as Status,
  HealthCheckResponseSchema,
} from "../../../gen/ts/grpc/health/v1/health_pb.ts";
import { type Clock, sleep } from "../clock.ts";
import { openReadMaxBytes } from "./rpc-adapter.ts";

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

/** Watches of one listener that are open at once: each is looked at again and again, and needs no key. */
export const watchesMax = 1_024;

/** Serves grpc.health.v1, which load balancers and gRPC clients ask. It needs no key, and says nothing but up or not. */
export function healthRoutes(options: HealthOptions): (router: ConnectRouter) => void {
  const statusOf = (service: string) => {
    if (service !== "" && service !== Health.typeName && !options.services().includes(service))
      return Status.SERVICE_UNKNOWN;
    return options.ready() ? Status.SERVING : Status.NOT_SERVING;
  };
  let watches = 0;
  const implementation: ServiceImpl<typeof Health> = {
    check(request: HealthCheckRequest) {
      const status = statusOf(request.service);
      if (status === Status.SERVICE_UNKNOWN) throw new ConnectError("unknown service", Code.NotFound);
      return create(HealthCheckResponseSchema, { status });
    },
    async *watch(request: HealthCheckRequest, context: HandlerContext) {
      if (watches >= watchesMax) throw new ConnectError("too many watches are open", Code.ResourceExhausted);
      if (context.signal.aborted) return;
      watches++;
      // Not at the generator's end: one that waits for its reader when the caller leaves may never come to it.
      context.signal.addEventListener("abort", () => watches--, { once: true });
      let told: Status | undefined;
      do {
        const status = statusOf(request.service);
        if (status !== told) yield create(HealthCheckResponseSchema, { status });
        told = status;
      } while (await sleep(options.clock, watchIntervalMs, context.signal));
    },
  };
  return (router) => void router.service(Health, implementation, { readMaxBytes: openReadMaxBytes });
}
