import type { ConnectRouter } from "@connectrpc/connect";
import { createContextValues } from "@connectrpc/connect";
import { Audience } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Assembled } from "../assemble.ts";
import { fail } from "../errors/fail.ts";
import { openaiErrorBody } from "../errors/http-body.ts";
import { connectRoutes } from "../mesh/connect.ts";
import { callerAddress } from "../mesh/wire-origin.ts";
import type { HttpRequest, HttpResponse } from "./app.ts";
import { faultHeaders } from "./framing.ts";
import { healthRoutes } from "./health.ts";
import { reflectionRoutes } from "./reflection.ts";
import { rpcAdapter } from "./rpc-adapter.ts";

/** The longest request message of an RPC: as long as the longest body of the HTTP API by default, and some. */
const readMaxBytes = 16 * 1024 * 1024;

/**
 * Serves the registry's methods of one audience, gRPC health and reflection, over Connect, gRPC and gRPC-Web. What
 * nobody knows is answered as OpenAI's API does.
 */
export function rpcHandler(
  assembled: Assembled,
  audience: Audience,
): (request: HttpRequest, response: HttpResponse) => void {
  const { registry, gate, meshToken, runtime } = assembled;
  const { identity, clock, http } = runtime;
  const services = registry.services().map(({ service }) => service);
  const routes = (router: ConnectRouter) => {
    connectRoutes({ registry, gate, audience, identity, meshToken, readMaxBytes })(router);
    healthRoutes({
      services: () => services.map((service) => service.typeName),
      ready: () => Object.keys(assembled.notReady()).length === 0,
      clock,
    })(router);
    reflectionRoutes(services)(router);
  };
  return rpcAdapter({
    routes,
    clock,
    requestTimeoutMs: runtime.settings.http.requestTimeoutMs,
    readMaxBytes,
    // A member that a contract does not have is a mistake, or an attempt: nobody is left to believe that it took effect.
    jsonOptions: { ignoreUnknownFields: false },
    fallback: notFound,
    contextValues: (request) => {
      const forwarded = request.headers["x-forwarded-for"];
      const address = http.clientAddress(
        request.socket.remoteAddress,
        typeof forwarded === "string" ? forwarded : undefined,
      );
      return createContextValues().set(callerAddress, address);
    },
  });
}

/** Answers a path that nobody serves. The path is not repeated: it may hold what a tenant would mind. */
function notFound(request: HttpRequest, response: HttpResponse): void {
  const error = fail(ErrorReason.UNKNOWN_METHOD, { method: `${request.method ?? "?"} on this path` });
  const body = JSON.stringify(openaiErrorBody(error));
  request.resume();
  response.writeHead(404, faultHeaders(body));
  response.end(body);
}
